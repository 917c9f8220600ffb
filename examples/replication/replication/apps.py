from django.apps import AppConfig
from django.db import connections, transaction
from django.db.models.signals import post_migrate, pre_migrate

from replication import files, log


def keeps_log(alias):
    return alias in files.primaries() and connections[alias].vendor == "sqlite"


def remove_triggers(using, plan, **kwargs):
    """Drop the triggers before a migration: SQLite does not drop a column that a trigger names."""
    if plan and keeps_log(using):
        with transaction.atomic(using):
            log.remove_triggers(connections[using].connection)


def install(using, **kwargs):
    """Make the log fit the new schema.

    The log lacks all that was written while the triggers were dropped, for example by a data
    migration. But `log.install` records that the schema changed, and then each replica is copied
    again as a whole.
    """
    if keeps_log(using):
        # In this mode, reading the log never blocks a writer. The file stores the mode.
        with connections[using].cursor() as cursor:
            cursor.execute("PRAGMA journal_mode = WAL")
        with transaction.atomic(using):
            log.install(connections[using].connection)


class ReplicationConfig(AppConfig):
    name = "replication"

    def ready(self):
        pre_migrate.connect(remove_triggers, sender=self)
        post_migrate.connect(install, sender=self)
