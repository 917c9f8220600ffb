from django.apps import AppConfig


class FencesConfig(AppConfig):
    name = "sharding.fences"
    default_auto_field = "django.db.models.BigAutoField"
