from django.conf import settings

from sharding.models import bucket_of_row, shard_of


class ShardRouter:
    """Sharding: a customer, with all that is theirs, is on one of several shards.

    Which shard, the key says: that of the row at hand, or of a row that it belongs to. Never
    ``instance._state.db``, since rows move. Without a key there is no answer, and ``shard_of()``
    raises ``ShardUnknown``.
    """

    sharded_apps = {"customers", "fences"}

    def db_for_read(self, model, **hints):
        return shard_of(model, **hints) if self.is_sharded(model) else "default"

    def db_for_write(self, model, **hints):
        return shard_of(model, **hints) if self.is_sharded(model) else "default"

    def is_sharded(self, model):
        return model._meta.app_label in self.sharded_apps

    def allow_relation(self, obj1, obj2, **hints):
        if self.is_sharded(type(obj1)) and self.is_sharded(type(obj2)):
            # What is in one bucket stays together when that moves. A new row (None) is in no bucket
            # yet, and will join its relation's.
            return len({bucket_of_row(obj1), bucket_of_row(obj2)} - {None}) <= 1
        return self.is_sharded(type(obj1)) == self.is_sharded(type(obj2))

    def allow_migrate(self, db, app_label, **hints):
        # By app alone: RunPython and RunSQL come without the name of a model.
        return db in settings.SHARDS if app_label in self.sharded_apps else db == "default"
