"""Which migrations a database has, and which it lacks; and what ``flush`` is to leave there."""

from contextlib import suppress

from django.apps import apps
from django.conf import settings
from django.core.management import CommandError
from django.db import DEFAULT_DB_ALIAS, connections, router, transaction
from django.db.migrations.executor import MigrationExecutor

from sharding import scatter
from sharding.buckets import Bucket, MapIncomplete, MapVersion, first_map, forget_map, read_map
from sharding.errors import errors_in_one_line, some
from sharding.fences.models import HeldBucket


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
            f'Database "{alias}" lacks migrations: {some(lacks)}. Run: python manage.py {command}'
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


def refill(using, **kwargs):
    """Receive ``post_migrate``: the map, and which buckets a shard holds, are to outlive a flush.

    Migrations make them, and ``flush`` empties these tables too: that of the command, and that at
    the end of each ``TransactionTestCase``.
    """
    scatter.close(using)  # or the database of a test can't be dropped
    tables = connections[using].introspection.table_names()
    if using == DEFAULT_DB_ALIAS and Bucket._meta.db_table in tables:
        refill_map()
    elif using in settings.SHARDS and HeldBucket._meta.db_table in tables:
        refill_held(using)


def refill_map():
    """Make the map anew where it is empty: of what the shards hold, and else the first one."""
    forget_map()
    if MapVersion.objects.using(DEFAULT_DB_ALIAS).exists():
        return
    held, asked = {}, set()
    for alias in settings.SHARDS:
        with suppress(AssertionError), errors_in_one_line(alias):  # a test may not ask this one
            if HeldBucket._meta.db_table in connections[alias].introspection.table_names():
                numbers = HeldBucket.objects.using(alias).values_list("number", flat=True)
                held |= dict.fromkeys(numbers, alias)
            asked.add(alias)
    first = dict(first_map())
    if held and (lost := [n for n in first if n not in held and first[n] in asked]):
        raise CommandError(
            f"The shard map is empty, and no shard takes writes for bucket {some(lost)}. Restore "
            "the tables sharding_bucket and sharding_mapversion from a backup."
        )
    with transaction.atomic(using=DEFAULT_DB_ALIAS):
        MapVersion.objects.using(DEFAULT_DB_ALIAS).create()
        Bucket.objects.using(DEFAULT_DB_ALIAS).bulk_create(
            Bucket(number=number, alias=held.get(number, alias)) for number, alias in first.items()
        )


def refill_held(alias):
    """Let a shard that holds no bucket take writes for those that the map says it has."""
    held = HeldBucket.objects.using(alias)
    if held.exists():
        return
    try:
        found = read_map()
        numbers = [n for n in found.buckets(alias) if n not in found.moving]
    except AssertionError:  # a test may not ask default, and so hasn't changed the map
        numbers = [number for number, shard in first_map() if shard == alias]
    except (MapIncomplete, MapVersion.DoesNotExist):
        return  # check says it, and migrate_shards
    held.bulk_create(HeldBucket(number=number) for number in numbers)
