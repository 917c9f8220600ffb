from django.conf import settings

from replicas import reading
from shard_replicas.readable import readable_from
from sharding.fields import bucket_of_row
from sharding.routers import is_sharded, shard_of

SHARDED = "one of SHARDS"


class ShopRouter:
    """Choose first by function, then by shard, then by role.

    The app of a model determines its database, or that it is on the shards. The key of a row
    determines its shard. Writes go to the shard's primary. Reads go to a replica of this shard, if
    a replica is suitable for this reader. Otherwise, reads go to the primary too.
    """

    databases = {"reviews": "reviews"}  # by app label

    def database_of(self, app_label):
        if is_sharded(app_label):
            return SHARDED
        # Auth, sessions, the admin, and each app that is installed later.
        return self.databases.get(app_label, "default")

    def db_for_write(self, model, **hints):
        database = self.database_of(model._meta.app_label)
        return shard_of(model, **hints) if database == SHARDED else database

    def db_for_read(self, model, instance=None, **hints):
        primary = self.db_for_write(model, instance=instance, **hints)
        if primary not in settings.REPLICAS:
            return primary
        if instance is not None and instance._state.db == primary:
            # The replicas may not have its related rows or its newest values yet.
            return primary
        # After a move of buckets, only a replica that has reached this position has the right rows.
        return reading.database(primary, since=readable_from(primary))

    def allow_relation(self, obj1, obj2, **hints):
        database1, database2 = (self.database_of(obj._meta.app_label) for obj in (obj1, obj2))
        if database1 == database2 == SHARDED:
            # The rows of a bucket move together. A new row has no bucket yet (None), and will get
            # the bucket of the related row.
            return len({bucket_of_row(obj1), bucket_of_row(obj2)} - {None}) <= 1
        return database1 == database2  # even if one was read from a replica

    def allow_migrate(self, db, app_label, **hints):
        # Decide by the app only, because RunPython and RunSQL pass no name of a model. Return False
        # for a replica, because replication creates the tables there.
        database = self.database_of(app_label)
        return db in settings.SHARDS if database == SHARDED else db == database
