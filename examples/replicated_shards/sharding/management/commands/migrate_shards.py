from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from django.apps import apps
from django.conf import settings
from django.core.management import BaseCommand, CommandError, call_command
from django.core.management.commands import migrate
from django.db import DEFAULT_DB_ALIAS, connections
from tqdm import tqdm

from sharding.schema import NO_SHARDS, check_migrated, difference, labels


class MigrateShard(migrate.Command):
    """Django's own `migrate`, for one shard. It updates a bar after each migration."""

    def __init__(self, alias, bar, lock):
        super().__init__()
        self.alias, self.bar, self.lock = alias, bar, lock
        self.applying = None
        self.applied = 0

    def migration_progress_callback(self, action, migration=None, fake=False):
        if action == "apply_start":
            self.applying = migration
        elif action == "apply_success":
            self.applying = None
            self.applied += 1
            with self.lock:
                self.bar.update()

    def run(self):
        """Apply the missing migrations. Returns None, or the error in one line."""
        try:
            for label in labels(self.alias):
                call_command(self, label, database=self.alias, interactive=False, verbosity=0)
        except Exception as error:  # a migration may raise any error, and the others continue
            at = f", at {self.applying}" if self.applying else ""
            return f"{self.alias}{at}: {' '.join(str(error).split()) or repr(error)}"
        finally:
            connections.close_all()  # this thread's own


def waiting(alias):
    """Return how many migrations a shard lacks, or 0 if it is unavailable."""
    try:
        lacks, _ = difference(alias)
    except CommandError:  # MigrateShard reports the error
        return 0
    return len(lacks)


class Command(BaseCommand):
    help = (
        "Migrate all shards at the same time. If one fails, the others are migrated nevertheless, "
        "and the exit status is 1. Run the command again to continue."
    )

    def handle(self, **options):
        if not settings.SHARDS:
            return NO_SHARDS
        # A new shard reads from the map, in default, for which buckets it takes writes.
        check_migrated(DEFAULT_DB_ALIAS)
        shards = settings.SHARDS
        total = sum(map(waiting, shards))
        # Threads, because they mostly wait for the databases.
        with (
            tqdm(total=total, unit="migration", disable=None) as bar,
            ThreadPoolExecutor(len(shards)) as pool,
        ):
            lock = Lock()
            runs = [MigrateShard(alias, bar, lock) for alias in shards]
            failures = list(filter(None, pool.map(MigrateShard.run, runs)))
        if failures:
            raise CommandError(
                f"{len(failures)} of {len(shards)} shards failed. The others are up to date. "
                "Correct the error, and run migrate_shards again. " + "; ".join(failures)
            )
        applied = sum(run.applied for run in runs)
        self.stdout.write(f"{len(shards)} shards are up to date. Migrations applied: {applied}.")
        if apps.is_installed("sharding.reference"):
            call_command("sync_reference", stdout=self.stdout)
