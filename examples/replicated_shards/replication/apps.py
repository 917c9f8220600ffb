from django.apps import AppConfig
from django.db import connections, transaction
from django.db.models.signals import post_migrate, pre_migrate

from replication import files, log


def keeps_log(alias):
    return alias in files.primaries() and connections[alias].vendor == "sqlite"


def remove_triggers(using, plan, **kwargs):
    """Let the migrations pass: SQLite drops no column that a trigger names."""
    if plan and keeps_log(using):
        with transaction.atomic(using):
            log.remove_triggers(connections[using].connection)


def install(using, **kwargs):
    """Make the log fit the new schema.

    What was written since the triggers went, by a data migration or by anyone, isn't in the log.
    But `log.install` notes there that the schema changed, at which each replica is copied anew.
    """
    if keeps_log(using):
        # A reader of the log is then never in a writer's way. The file remembers it.
        with connections[using].cursor() as cursor:
            cursor.execute("PRAGMA journal_mode = WAL")
        with transaction.atomic(using):
            log.install(connections[using].connection)


class ReplicationConfig(AppConfig):
    name = "replication"

    def ready(self):
        pre_migrate.connect(remove_triggers, sender=self)
        post_migrate.connect(install, sender=self)
