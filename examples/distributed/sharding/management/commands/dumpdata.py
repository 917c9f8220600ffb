from django.conf import settings
from django.core.management import CommandError
from django.core.management.commands import dumpdata
from django.db import router

from sharding.models import sharded_models


class Command(dumpdata.Command):
    """As Django's, but raises CommandError for models on shards, which Django's would leave out."""

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
        return super().handle(*app_labels, **options)
