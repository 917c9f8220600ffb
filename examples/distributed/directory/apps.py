from django.apps import AppConfig
from django.core.checks import register


class DirectoryConfig(AppConfig):
    name = "directory"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        from directory.checks import check_owner

        register(check_owner)
