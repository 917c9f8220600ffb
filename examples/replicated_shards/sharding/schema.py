"""Which migrations a shard has and lacks; and the errors of a database, in one line."""

from contextlib import contextmanager

from django.apps import apps
from django.conf import settings
from django.core.management import CommandError
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, router
from django.db.migrations.executor import MigrationExecutor

from sharding.buckets import MapIncomplete


@contextmanager
def errors_name(alias):
    """Turn an error of a database, or of the shard map, into a CommandError: one line."""
    try:
        yield
    except MapIncomplete as error:
        raise CommandError(str(error)) from error
    except DatabaseError as error:
        name = connections[alias].settings_dict["NAME"]
        raise CommandError(
            f'Database "{alias}" ({name}): {" ".join(str(error).split())}'
        ) from error


def labels(alias):
    """Return the apps that have tables on a shard.

    Without an app's name, `migrate` would note on the shard that it had migrated all the others.
    """
    return [
        config.label
        for config in apps.get_app_configs()
        if any(router.allow_migrate_model(alias, model) for model in config.get_models())
    ]


def difference(alias):
    """Return two lists of migrations: those that a shard lacks, and those that only it knows.

    Each as `customers.0001_initial`; the first in the order to apply them in. Raises CommandError
    where the shard can't be asked.
    """
    with errors_name(alias):
        executor = MigrationExecutor(connections[alias])
    wanted = labels(alias)
    leaves = [leaf for leaf in executor.loader.graph.leaf_nodes() if leaf[0] in wanted]
    plan = executor.migration_plan(leaves)
    applied, known = executor.loader.applied_migrations, executor.loader.disk_migrations
    unknown = sorted(node for node in applied.keys() - known.keys() if node[0] in wanted)
    return [str(migration) for migration, _ in plan], [".".join(node) for node in unknown]


def check_migrated(alias):
    """Raise CommandError where a database lacks migrations, or can't be asked."""
    lacks, _ = difference(alias)
    if lacks:
        command = "migrate" if alias == DEFAULT_DB_ALIAS else "migrate_shards"
        raise CommandError(
            f'Database "{alias}" lacks {", ".join(lacks)}. Run: python manage.py {command}'
        )


def check_shard(alias):
    """Raise CommandError where an alias isn't that of a shard."""
    if alias not in settings.SHARDS:
        raise CommandError(
            f'There is no shard "{alias}". The shards are: {", ".join(settings.SHARDS)}.'
        )
