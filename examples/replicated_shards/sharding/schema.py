"""Which migrations a database has and lacks, and the rows that are made again after a flush."""

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

    Without the label of an app, `migrate` would record the migrations of all apps on the shard.
    """
    return [
        config.label
        for config in apps.get_app_configs()
        if any(router.allow_migrate_model(alias, model) for model in config.get_models())
    ]


def difference(alias):
    """Return two lists of migrations: those that a shard lacks, and those that the code lacks.

    Each migration is a text like ``app.0001_initial``. The first list is in the order in which to
    apply them. Raises CommandError if the shard is unavailable.
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
    """Raise CommandError if a database lacks migrations, or is unavailable."""
    lacks, _ = difference(alias)
    if lacks:
        command = "migrate" if alias == DEFAULT_DB_ALIAS else "migrate_shards"
        raise CommandError(
            f'Database "{alias}" lacks migrations: {some(lacks)}. Run: python manage.py {command}'
        )


def check_all_migrated():
    """Raise CommandError if ``default`` or a shard lacks migrations, or is unavailable."""
    for alias in [DEFAULT_DB_ALIAS, *settings.SHARDS]:
        check_migrated(alias)


NO_SHARDS = "There are no shards, because SHARDS is empty. All rows are in one database."


def check_shard(alias):
    """Raise CommandError if an alias isn't that of a shard."""
    if not settings.SHARDS:
        raise CommandError(NO_SHARDS)
    if alias not in settings.SHARDS:
        raise CommandError(
            f'There is no shard "{alias}". The shards are: {", ".join(settings.SHARDS)}.'
        )


def refill(using, **kwargs):
    """Receive ``post_migrate``: make the map and the fences again after a flush.

    Migrations make these rows. Both the command ``flush`` and the flush at the end of each
    ``TransactionTestCase`` delete them.
    """
    scatter.close(using)  # otherwise a test's database can't be dropped
    tables = connections[using].introspection.table_names()
    if using == DEFAULT_DB_ALIAS and Bucket._meta.db_table in tables:
        refill_map()
    elif using in settings.SHARDS and HeldBucket._meta.db_table in tables:
        refill_held(using)


def refill_map():
    """If the map is empty, make it from the fences on the shards, or else like a new one."""
    forget_map()
    if MapVersion.objects.using(DEFAULT_DB_ALIAS).exists():
        return
    held, asked = {}, set()
    for alias in settings.SHARDS:
        with suppress(AssertionError), errors_in_one_line(alias):  # a test may not query this shard
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
    """If a shard holds no buckets, let it take writes for those that the map gives it."""
    held = HeldBucket.objects.using(alias)
    if held.exists():
        return
    try:
        found = read_map()
        numbers = [n for n in found.buckets(alias) if n not in found.moving]
    except AssertionError:  # a test that may not query default hasn't changed the map
        numbers = [number for number, shard in first_map() if shard == alias]
    except (MapIncomplete, MapVersion.DoesNotExist):
        return  # check and migrate_shards report it
    held.bulk_create(HeldBucket(number=number) for number in numbers)
