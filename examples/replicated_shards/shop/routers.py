from django.conf import settings

from replicas import reading
from shard_replicas.readable import readable_from
from sharding.fields import bucket_of_row
from sharding.routers import is_sharded, shard_of

SHARDED = "one of SHARDS"


class ShopRouter:
    """By function first, then by shard, then by role.

    The app says whether a model is on the shards or in one database. The key says which shard. What
    is written goes there; what is read, to a replica of it that is fit for this reader, if any is.
    """

    databases = {"reviews": "reviews"}  # by app label

    def database_of(self, app_label):
        if is_sharded(app_label):
            return SHARDED
        # Auth, sessions, the admin, and any app that is installed next year.
        return self.databases.get(app_label, "default")

    def db_for_write(self, model, **hints):
        database = self.database_of(model._meta.app_label)
        return shard_of(model, **hints) if database == SHARDED else database

    def db_for_read(self, model, instance=None, **hints):
        primary = self.db_for_write(model, instance=instance, **hints)
        if primary not in settings.REPLICAS:
            return primary
        if instance is not None and instance._state.db == primary:
            # What belongs to it, or is newer than it, may not be on the replicas yet.
            return primary
        # Rows may have come to this shard. From this position on, its replicas have them too.
        return reading.database(primary, since=readable_from(primary))

    def allow_relation(self, obj1, obj2, **hints):
        database1, database2 = (self.database_of(obj._meta.app_label) for obj in (obj1, obj2))
        if database1 == database2 == SHARDED:
            # What is in one bucket stays together when that moves. A new row (None) is in no bucket
            # yet, and will join its relation's.
            return len({bucket_of_row(obj1), bucket_of_row(obj2)} - {None}) <= 1
        return database1 == database2  # whichever replica either was read from

    def allow_migrate(self, db, app_label, **hints):
        # By app alone: RunPython and RunSQL come without the name of a model. On no replica:
        # replication brings the tables there.
        database = self.database_of(app_label)
        return db in settings.SHARDS if database == SHARDED else db == database
