from django.apps import apps
from django.conf import settings
from django.core.management import CommandError
from django.core.management.commands import dumpdata
from django.db import router

from sharding.models import sharded_models
from sharding.routers import is_reference


class Command(dumpdata.Command):
    """As Django's, but raises CommandError for models on shards, which Django's would leave out.

    A shard's copies of reference tables are left out, because they are copied from ``default``.
    """

    def handle(self, *app_labels, **options):
        wanted, excluded = (
            {label.lower() for label in labels} for labels in (app_labels, options["exclude"])
        )
        for model in sharded_models() if settings.SHARDS else []:
            names = {model._meta.app_label, model._meta.label_lower}
            asked = (not wanted or names & wanted) and not names & excluded
            if asked and not router.allow_migrate_model(options["database"], model):
                raise CommandError(
                    f'{model._meta.label} is on the shards, not in "{options["database"]}". Dump '
                    f"each shard by itself: dumpdata {model._meta.app_label} --database=… To dump "
                    f'"{options["database"]}", write: dumpdata --exclude={model._meta.app_label}'
                )
        if options["database"] in settings.SHARDS:
            copied = filter(is_reference, (config.label for config in apps.get_app_configs()))
            options["exclude"] = [*options["exclude"], *copied]
        return super().handle(*app_labels, **options)
