from django.db import DEFAULT_DB_ALIAS

from replicas import reading


class ReplicaRouter:
    """Separation by access: writes go to the primary, reads to a replica where possible."""

    def db_for_read(self, model, instance=None, **hints):
        if reading.is_primary_only(model):
            # On a replica that is behind, a user may still have a session or a permission that
            # the primary has already removed.
            return DEFAULT_DB_ALIAS
        if reading.is_from_primary(instance):
            # Related or newer rows may not be on the replicas yet.
            return DEFAULT_DB_ALIAS
        return reading.database()

    def db_for_write(self, model, **hints):
        return DEFAULT_DB_ALIAS

    def allow_relation(self, obj1, obj2, **hints):
        return True  # each database has the rows of both objects

    def allow_migrate(self, db, app_label, **hints):
        return db == DEFAULT_DB_ALIAS  # replication creates the tables on the replicas
