from django.apps import AppConfig
from django.core.checks import register


class OutboxConfig(AppConfig):
    name = "outbox"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        from outbox import checks

        register(checks.check_settings, "outbox")
        register(checks.check_router, "outbox")
