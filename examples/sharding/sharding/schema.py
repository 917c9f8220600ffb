"""Which migrations a database has, and which it lacks."""

from django.apps import apps
from django.conf import settings
from django.core.management import CommandError
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.migrations.executor import MigrationExecutor

from sharding.errors import errors_in_one_line, some


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

    Each as ``app.0001_initial``; the first in the order to apply them in. Raises CommandError
    where the shard can't be asked.
    """
    with errors_in_one_line(alias):
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
            f'Database "{alias}" lacks {some(lacks)}. Run: python manage.py {command}'
        )


def check_all_migrated():
    """Raise CommandError where ``default`` or a shard lacks migrations, or can't be asked."""
    for alias in [DEFAULT_DB_ALIAS, *settings.SHARDS]:
        check_migrated(alias)


def check_shard(alias):
    """Raise CommandError where an alias isn't that of a shard."""
    if alias not in settings.SHARDS:
        raise CommandError(
            f'There is no shard "{alias}". The shards are: {", ".join(settings.SHARDS)}.'
        )
