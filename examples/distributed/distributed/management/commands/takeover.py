import time
from itertools import groupby, islice

from django.conf import settings
from django.core.management import BaseCommand, CommandError
from tqdm import tqdm

from distributed.checks import check_servers
from sharding.errors import errors_in_one_line
from sharding.keys import BUCKETS
from sharding.management.commands.reshard import parse
from sharding.reshard import reshard
from sharding.schema import check_all_migrated

# Buckets that are marked at the same time. A shard keeps their rows until all of them are copied.
AT_ONCE = 256


class Command(BaseCommand):
    help = (
        "Move all rows from the shards to the coordinator and its nodes, while the application "
        "reads and writes; or with --back, to the other shards again. If the command is stopped "
        "or killed, run it again: it continues."
    )

    def add_arguments(self, parser):
        parser.add_argument("--back", action="store_true", help="move the rows back to the shards")
        parser.add_argument(
            "--buckets",
            default=f"0-{BUCKETS - 1}",
            metavar="NUMBERS",
            help='only these, to try it with some rows first: "0-9,205" (all)',
        )

    def handle(self, *, back, buckets, **options):
        shards = check_settings()
        numbers = parse(buckets)
        check_all_migrated()
        check_nodes()
        start = time.monotonic()
        moved = rows = 0
        try:
            with tqdm(total=len(numbers), unit="bucket", disable=None) as bar:
                for target, some in plan(numbers, shards if back else [settings.COORDINATOR]):
                    of_these, with_rows = reshard(some, target)
                    moved, rows = moved + of_these, rows + with_rows
                    bar.update(len(some))
        except KeyboardInterrupt:
            raise CommandError("Stopped. Run takeover again to continue.") from None
        self.stdout.write(
            f"Buckets moved: {moved}, with {rows} rows, in {time.monotonic() - start:.1f} s. Each "
            f"row was compared with its copy. Already there: {len(numbers) - moved}."
        )


def plan(numbers, targets):
    """Yield ``(alias, some)``: some of the buckets, and their target. Each gets an equal run."""

    def target(number):
        return number * len(targets) // BUCKETS

    for position, of_one in groupby(numbers, target):
        for some in batched(of_one, AT_ONCE):
            yield targets[position], some


def batched(numbers, size):
    """Yield tuples of ``size`` numbers. (Python 3.12 has it in itertools.)"""
    numbers = iter(numbers)
    while some := tuple(islice(numbers, size)):
        yield some


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
    with errors_in_one_line(settings.COORDINATOR):
        found = check_servers(databases=[settings.COORDINATOR])
    if found:
        raise CommandError(f"{found[0].msg} {found[0].hint}")
