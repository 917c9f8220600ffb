import re
import time

from django.core.management import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS
from tqdm import tqdm

from sharding.keys import BUCKETS
from sharding.reshard import reshard
from sharding.schema import check_migrated, check_shard


def parse(text):
    """Return the sorted numbers that a text like "0-99,205" names."""
    numbers = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part, re.ASCII)
        if not match:
            raise CommandError(
                f'--buckets must be numbers and ranges, as in "0-99,205", not {text!r}.'
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise CommandError(f"--buckets: {part.strip()}: write the lower number first.")
        if last >= BUCKETS:
            raise CommandError(f"--buckets: {part.strip()}: the buckets are 0 to {BUCKETS - 1}.")
        numbers.update(range(first, last + 1))
    return sorted(numbers)


class Command(BaseCommand):
    help = (
        "Move buckets to a shard while the application reads and writes. If the command is "
        "stopped or killed, run it again: it repairs unfinished moves, and continues."
    )

    def add_arguments(self, parser):
        parser.add_argument("--to", required=True, metavar="ALIAS", help="the shard to move to")
        parser.add_argument(
            "--buckets", required=True, metavar="NUMBERS", help='numbers and ranges: "0-99,205"'
        )

    def handle(self, *, to, **options):
        check_shard(to)
        numbers = parse(options["buckets"])
        check_migrated(DEFAULT_DB_ALIAS)
        start = time.monotonic()
        try:
            with tqdm(total=len(numbers), unit="bucket", disable=None) as bar:
                moved, rows = reshard(numbers, to, bar)
        except KeyboardInterrupt:
            raise CommandError("Stopped. Run reshard again to continue.") from None
        seconds = time.monotonic() - start
        there = len(numbers) - moved
        self.stdout.write(
            f"Buckets moved to {to}: {moved}, with {rows} rows, in {seconds:.1f} s."
            + (f" Already there: {there}." if there else "")
        )
