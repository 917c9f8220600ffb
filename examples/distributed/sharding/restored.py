"""Deserialized rows. Django writes them to a given alias, without the model's ``save()``."""

from django.db import connections
from django.db.models.signals import pre_save
from django.db.transaction import TransactionManagementError

from sharding.fields import bucket_of_row, needed
from sharding.models import Sharded
from sharding.writing import writing


def hold_bucket(sender, instance, raw, using, **kwargs):
    """Lock the bucket of a deserialized row on the shard that the row will be written to.

    Raises WrongShard if the row belongs on another shard, and BucketMoving as ``writing()`` does.
    """
    if raw and isinstance(instance, Sharded):
        with writing([needed(bucket_of_row(instance), sender)], using):
            pass  # the lock stays until the outer transaction ends
        if not connections[using].in_atomic_block:
            raise TransactionManagementError(
                "A deserialized row of a shard must be saved in a transaction. Otherwise its "
                "bucket could move before the row is written. Write: with "
                f'transaction.atomic(using="{using}").'
            )


def connect():
    pre_save.connect(hold_bucket, dispatch_uid="sharding")
