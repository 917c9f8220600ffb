from django.apps import AppConfig
from django.conf import settings
from django.core.checks import Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.db.models.signals import post_migrate

# Without these settings the router fails, and with it even Django's own checks.
NEEDED = {
    "SHARDS": (list | tuple, 'SHARDS = ["shard0", "shard1"], the aliases of the shards'),
    "SHARDED_APPS": (set | list | tuple, 'SHARDED_APPS = {"notes"}, the labels of the apps there'),
}


class ShardingConfig(AppConfig):
    name = "sharding"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        for name, (kind, line) in NEEDED.items():
            if not isinstance(getattr(settings, name, None), kind):
                raise ImproperlyConfigured(f"The app sharding needs {name}. Write {line}.")

        from sharding import checks, restored
        from sharding.schema import refill

        if settings.SHARDS:
            post_migrate.connect(refill, sender=self)
            restored.connect()

        for check in (
            checks.check_shards,
            checks.check_apps,
            checks.check_router,
            checks.check_models,
            checks.check_keys,
            checks.check_workers,
            checks.check_transactions,
        ):
            register(check)
        register(checks.check_map, Tags.database)
