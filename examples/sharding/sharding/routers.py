from django.conf import settings
from django.db import DEFAULT_DB_ALIAS

from sharding.buckets import alias_of
from sharding.fields import bucket_in_hand, bucket_of_row, needed


def is_sharded(app_label):
    """Return whether an app's models are on the shards, and not in one database."""
    if not settings.SHARDS:
        return False
    # The table of the buckets that a shard takes writes for is on each shard: see sharding/fences.
    return app_label in settings.SHARDED_APPS or app_label == "fences"


def is_reference(app_label):
    """Return whether an app's tables are in ``default``, with a copy on each shard."""
    if not settings.SHARDS:
        return False
    # The versions of these tables are in each database, too: see sharding/reference.
    return app_label in getattr(settings, "REFERENCE_APPS", ()) or app_label == "reference"


def databases_of(app_label, model_name=None):
    """Return the aliases of the databases that have the tables of an app.

    By app only, because RunPython and RunSQL pass no name of a model. They run for a reference
    table in ``default`` only, and the rows are copied.
    """
    if is_sharded(app_label):
        return settings.SHARDS
    if is_reference(app_label) and model_name is not None:
        return [DEFAULT_DB_ALIAS, *settings.SHARDS]
    return [DEFAULT_DB_ALIAS]


def shard_of(model, instance=None, bucket=None, shard=None, **hints):
    """Return the alias of the shard that a router's hints name, or raise ``ShardUnknown``.

    ``instance`` is the row, or its parent. ``bucket`` is the hint of ``ShardedQuerySet``, and
    ``shard`` is that of ``scatter``, which queries each shard.
    """
    if shard is not None:
        return shard
    if (
        bucket is None
        and instance is not None
        and not isinstance(instance, model)
        and bucket_of_row(instance) is None
        and instance._state.db is not None
        and (is_sharded(instance._meta.app_label) or is_reference(instance._meta.app_label))
    ):
        # Note(author=Author()): Django asked for the note's shard, with the author as instance.
        # Now it asks for the author's, with the note, which has no key yet. It is the same shard.
        return instance._state.db
    if bucket is None and instance is not None:
        fence = instance._meta.label == "fences.HeldBucket"  # as TestCase.serialized_rollback saves
        bucket = instance.pk if fence else bucket_of_row(instance)
    if bucket is None:
        bucket = bucket_in_hand()
    return alias_of(needed(bucket, model))


class ShardRouter:
    """Sharding: the rows of ``SHARDED_APPS`` are on several shards, all others in ``default``.

    The key of the row or of its parent says which shard. The database that a row was read from
    doesn't, because rows move. Without a key, ``shard_of()`` raises ``ShardUnknown``.
    """

    def db_for_read(self, model, **hints):
        return shard_of(model, **hints) if is_sharded(model._meta.app_label) else DEFAULT_DB_ALIAS

    db_for_write = db_for_read

    def allow_relation(self, obj1, obj2, **hints):
        sharded1, sharded2 = (is_sharded(obj._meta.app_label) for obj in (obj1, obj2))
        if sharded1 and sharded2:
            # The rows of a bucket stay together when the bucket moves. A new row (None) is in no
            # bucket yet, and will be put in its relation's.
            return len({bucket_of_row(obj1), bucket_of_row(obj2)} - {None}) <= 1
        return sharded1 == sharded2 or any(is_reference(o._meta.app_label) for o in (obj1, obj2))

    def allow_migrate(self, db, app_label, model_name=None, **hints):
        return db in databases_of(app_label, model_name)
