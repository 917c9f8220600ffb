import math
import sqlite3
import time
from contextlib import ExitStack, closing, suppress

from django.core.management import BaseCommand

from replication import files, log, snapshot
from replication.applier import Applier
from replication.files import NeedsSnapshot, ReplicationError

POLL = 0.005  # seconds between two looks at the log
REPORT = 1  # seconds between two lines about a replica, and between two tries after an error


def explain(alias, error):
    """Return an error as a sentence that names the replica."""
    if isinstance(error, NeedsSnapshot):
        return f"{alias} is {error}. Run: python manage.py replicate --snapshot --only {alias}"
    return f"{alias}: {error}"


class Command(BaseCommand):
    help = (
        "Bring the replicas up to date with the primary. This is replication for SQLite, for "
        "learning. In production, use the replication of your database server. You can stop the "
        "command at any time, and the replicas stay at their positions."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--snapshot", action="store_true", help="make each replica a new copy of the primary"
        )
        parser.add_argument("--follow", action="store_true", help="continue until it is stopped")
        # Not type=float: argparse would answer a wrong number with its usage and exit status 2.
        parser.add_argument(
            "--delay", default=0, metavar="SECONDS", help="apply each change this much later (0)"
        )
        parser.add_argument("--only", metavar="ALIAS", help="only this replica")

    def handle(self, *, follow, delay, only, **options):
        delay = self.seconds(delay)
        replicas = files.replicas(only)
        if options["snapshot"]:
            self.take_snapshots(replicas)
            if not follow:
                return
        with ExitStack() as stack:
            appliers = {
                alias: stack.enter_context(closing(Applier(files.primary_of(alias), path, delay)))
                for alias, path in replicas.items()
            }
            try:
                self.catch_up(appliers)
                if follow:
                    self.follow(appliers)
            except KeyboardInterrupt:
                self.report_news(appliers)
                self.say("Stopped.")

    def take_snapshots(self, replicas):
        for alias, path in replicas.items():
            with closing(files.hold(path)):
                position = snapshot.take(files.primary_of(alias), path)
            self.say(f"{alias}: a snapshot at position {position}.")

    def catch_up(self, appliers):
        """Apply the log as it is at the start. Raises ReplicationError for replicas that fail."""
        start = time.time()
        waiting, errors = dict(appliers), []
        while waiting:
            for alias, applier in list(waiting.items()):
                try:
                    applier.step()
                except ReplicationError as error:
                    errors.append(explain(alias, error))
                    del waiting[alias]
                else:
                    if applier.caught_up_at >= start:
                        self.report(alias, applier)
                        del waiting[alias]
            if waiting:
                time.sleep(POLL)
        if errors:
            raise ReplicationError(" ".join(errors))
        self.prune(list(appliers.values()))

    def follow(self, appliers):
        """Apply new changes. Print progress and errors, about once a second."""
        trouble, rest_until = {}, dict.fromkeys(appliers, 0)
        report_at = time.monotonic() + REPORT
        while True:
            for alias, applier in appliers.items():
                if time.monotonic() < rest_until[alias]:
                    continue
                try:
                    applier.step()
                except ReplicationError as error:
                    applier.close()  # so that another process can take a snapshot
                    line = explain(alias, error)
                    if trouble.get(alias) != line:
                        self.say(line)
                    trouble[alias] = line
                    rest_until[alias] = time.monotonic() + REPORT
                else:
                    if trouble.pop(alias, None):
                        self.say(f"{alias}: works again, at position {applier.position}.")
            if time.monotonic() >= report_at:
                self.report_news(appliers)
                self.prune([appliers[alias] for alias in appliers.keys() - trouble.keys()])
                report_at = time.monotonic() + REPORT
            time.sleep(POLL)

    def prune(self, appliers):
        for primary in {applier.primary for applier in appliers}:
            applied = min(a.position for a in appliers if a.primary == primary)
            # The primary may be busy. Then the log is pruned at a later time.
            with suppress(sqlite3.Error), closing(files.connect(primary, "rw")) as connection:
                log.prune(connection, applied)

    def report_news(self, appliers):
        for alias, applier in appliers.items():
            if applier.applied or applier.snapshots:
                self.report(alias, applier)

    def report(self, alias, applier):
        if applier.snapshots:
            copied = f"{alias}: copied again at position {applier.position}"
            self.say(f"{copied}, because the schema changed.")
        else:
            changes = "1 change" if applier.applied == 1 else f"{applier.applied} changes"
            self.say(f"{alias}: {changes} applied, at position {applier.position}.")
        applier.applied = applier.snapshots = 0

    def say(self, line):
        self.stdout.write(line)
        self.stdout.flush()  # also if the output is a file

    def seconds(self, value):
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds < math.inf:
            raise ReplicationError(
                f"--delay must be a number of seconds, 0 or more, not {value!r}."
            )
        return seconds
