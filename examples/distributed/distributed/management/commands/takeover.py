import time

from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.db import connections
from tqdm import tqdm

from distributed.engines import ENGINES
from sharding.errors import errors_in_one_line, some
from sharding.keys import BUCKETS
from sharding.models import sharded_models
from sharding.reshard import reshard
from sharding.schema import check_all_migrated

# Buckets that are marked at the same time. A shard keeps their rows until all of them are copied.
AT_ONCE = 128


class Command(BaseCommand):
    help = (
        "Move all rows from the shards to the coordinator and its nodes, while the application "
        "reads and writes; or with --back, to the other shards again. If the command is stopped "
        "or killed, run it again: it continues."
    )

    def add_arguments(self, parser):
        parser.add_argument("--back", action="store_true", help="move the rows back to the shards")

    def handle(self, *, back, **options):
        shards = check_settings()
        check_all_migrated()
        check_nodes()
        start = time.monotonic()
        moved = rows = 0
        try:
            with tqdm(total=BUCKETS, unit="bucket", disable=None) as bar:
                for target, numbers in plan(shards, back):
                    of_these, with_rows = reshard(numbers, target)
                    moved, rows = moved + of_these, rows + with_rows
                    bar.update(len(numbers))
        except KeyboardInterrupt:
            raise CommandError("Stopped. Run takeover again to continue.") from None
        self.stdout.write(
            f"Buckets moved: {moved}, with {rows} rows, in {time.monotonic() - start:.1f} s. Each "
            f"row was compared with its copy. Already there: {BUCKETS - moved}."
        )


def plan(shards, back):
    """Yield ``(alias, numbers)``: where some buckets belong, so that all are planned."""
    targets = shards if back else [settings.COORDINATOR]
    for position, alias in enumerate(targets):
        first = -(-BUCKETS * position // len(targets))
        last = -(-BUCKETS * (position + 1) // len(targets))
        for start in range(first, last, AT_ONCE):
            yield alias, range(start, min(start + AT_ONCE, last))


def check_settings():
    """Return the aliases of the shards without the coordinator. CommandError: wrong settings."""
    if not settings.NODES:
        raise CommandError("NODES is empty: name the aliases of the servers that get the rows.")
    if settings.COORDINATOR not in settings.SHARDS:
        raise CommandError(
            f'The coordinator, "{settings.COORDINATOR}", must be one of SHARDS until all rows are '
            "moved: add it at the end."
        )
    if not (shards := [alias for alias in settings.SHARDS if alias != settings.COORDINATOR]):
        raise CommandError("SHARDS names only the coordinator, so there are no rows to move.")
    return shards


def check_nodes():
    """Raise CommandError unless the coordinator's tables have their rows on guarded nodes."""
    coordinator = connections[settings.COORDINATOR]
    tables = [model._meta.db_table for model in sharded_models()]
    with errors_in_one_line(settings.COORDINATOR):
        local = sorted(set(tables) - ENGINES[coordinator.vendor].distributed(coordinator))
    if local:
        raise CommandError(
            f"{some(local)} in {settings.COORDINATOR} is not distributed. Its migration with "
            "Distribute has run with other settings, or there is none."
        )
    for alias in settings.NODES:
        with errors_in_one_line(alias), connections[alias].cursor() as cursor:
            for table in tables:
                found = connections[alias].introspection.get_constraints(cursor, table)
                if f"{table}_of_node" not in found:
                    raise CommandError(
                        f"{alias} would accept rows of other nodes, because {table} has no "
                        f"constraint {table}_of_node. The operation Distribute creates it."
                    )
