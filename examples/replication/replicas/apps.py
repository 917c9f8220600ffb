from django.apps import AppConfig
from django.conf import settings
from django.core.checks import Tags, register
from django.core.signals import setting_changed
from django.db.backends.signals import connection_created

from replicas import checks, consistency, reading
from replicas.consistency import note_writes
from replicas.failover import fail_over


def leave_constraints_to_the_primary(connection, **kwargs):
    """Switch off the check of foreign keys on a replica: its primary has checked them.

    At its end, a TestCase checks the foreign keys of each of its databases. In a ``MIRROR`` on
    SQLite this check would fail, because the table is locked by the TestCase's own transaction.
    """
    if any(connection.alias in aliases for aliases in settings.REPLICAS.values()):
        connection.features.can_defer_constraint_checks = False


class ReplicasConfig(AppConfig):
    name = "replicas"

    def ready(self):
        connection_created.connect(leave_constraints_to_the_primary)
        for check in (
            checks.check_replicas,
            checks.check_middleware,
            checks.check_routers,
            checks.check_position,
            checks.check_seconds,
            checks.check_labels,
        ):
            register(check)
        register(checks.check_servers, Tags.database)
        connection_created.connect(wrap_queries)
        setting_changed.connect(forget_settings)


def forget_settings(**kwargs):
    """Clear what is cached of the settings, because tests change settings."""
    reading.is_primary_only.cache_clear()
    consistency.unnoted_tables.cache_clear()


def wrap_queries(connection, **kwargs):
    """Wrap the queries of each connection, in whichever thread the connection is opened."""
    wrapper = {
        **dict.fromkeys(settings.REPLICAS, note_writes),
        **{alias: fail_over for aliases in settings.REPLICAS.values() for alias in aliases},
    }.get(connection.alias)
    if wrapper and wrapper not in connection.execute_wrappers:
        # At the start of the list: a connection may be opened within an execute_wrapper() block,
        # and such a block removes the last wrapper when it ends.
        connection.execute_wrappers.insert(0, wrapper)
