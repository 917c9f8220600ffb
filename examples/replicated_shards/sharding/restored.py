"""Rows that are deserialized: Django writes them past ``save()``, to the alias that it is given."""

from django.db.models.signals import pre_save

from sharding.buckets import alias_of
from sharding.fields import bucket_of_row, needed
from sharding.models import Sharded
from sharding.writing import WrongShard


def check_shard(sender, instance, raw, using, **kwargs):
    """Raise WrongShard where a deserialized row is about to be written to another shard."""
    if raw and isinstance(instance, Sharded):
        alias = alias_of(needed(bucket_of_row(instance), sender))
        if using != alias:
            raise WrongShard(f"This row belongs on {alias}, not on {using}.")


def connect():
    pre_save.connect(check_shard, dispatch_uid="sharding")
