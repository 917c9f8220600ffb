from django.apps import AppConfig
from django.conf import settings
from django.core.checks import Tags, register
from django.db.models.signals import post_migrate, post_save, pre_delete


class ReferenceConfig(AppConfig):
    name = "sharding.reference"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        from sharding.reference import checks, models

        register(checks.check_apps)
        register(checks.check_models)
        register(checks.check_foreign_keys)
        register(checks.check_size, Tags.database)
        if settings.SHARDS:
            post_migrate.connect(models.refill, sender=self)
            # Per model: with a receiver for all, Django would delete no other rows by one query.
            for model in models.reference_models():
                pre_delete.connect(models.deleting, sender=model)
                post_save.connect(models.loaded, sender=model)
