from django.db import DEFAULT_DB_ALIAS

from replicas import reading


class ReplicaRouter:
    """Separation by access: the primary is written, replicas are read."""

    def db_for_read(self, model, instance=None, **hints):
        if reading.is_primary_only(model):
            # Who has logged out, or lost a right, shall not have it on a replica that is behind.
            return DEFAULT_DB_ALIAS
        if reading.is_from_primary(instance):
            # What belongs to it, or is newer than it, may not be on the replicas yet.
            return DEFAULT_DB_ALIAS
        return reading.database()

    def db_for_write(self, model, **hints):
        return DEFAULT_DB_ALIAS

    def allow_relation(self, obj1, obj2, **hints):
        return True  # wherever the two were read: each database has the rows of both

    def allow_migrate(self, db, app_label, **hints):
        return db == DEFAULT_DB_ALIAS  # replication brings the tables to the replicas
