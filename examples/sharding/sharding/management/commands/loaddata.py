from django.conf import settings
from django.core.management import CommandError
from django.core.management.commands import loaddata
from django.db import router

from sharding.models import Sharded
from sharding.routers import is_reference
from sharding.writing import WrongShard


class Command(loaddata.Command):
    """As Django's, but raise CommandError if a row belongs on another shard, and load none."""

    def save_obj(self, obj):
        model = type(obj.object)
        if is_reference(model._meta.app_label) and self.using in settings.SHARDS:
            raise CommandError(
                f"{model._meta.label} is written in default only, not on {self.using}. Load it "
                "into default. Then sync_reference copies it to each shard."
            )
        if not settings.SHARDS or not issubclass(model, Sharded):
            return super().save_obj(obj)
        if not router.allow_migrate_model(self.using, model):
            raise CommandError(
                f'{model._meta.label} is on the shards, not in "{self.using}". Load the '
                "dump of each shard into that shard: loaddata --database=…"
            )
        try:
            return super().save_obj(obj)
        except WrongShard as error:
            raise CommandError(
                f"{error} Load each row into the shard that has its bucket now."
            ) from error
