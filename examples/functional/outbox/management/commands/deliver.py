import signal
from collections import Counter
from threading import Event
from time import monotonic

from django.core.management import BaseCommand, CommandError
from django.db import Error as DatabaseError

from outbox import conf
from outbox.checks import missing
from outbox.delivery import Unavailable, deliver_batch
from outbox.management.seconds import seconds
from outbox.retention import prune

RETRY = 5  # seconds until a database that was unavailable is tried again
PRUNE = 3600  # seconds between two deletions of old messages


class Command(BaseCommand):
    help = (
        "Deliver the messages of the outbox, and delete those that were delivered long ago. You "
        "can run the command several times at once, and stop it at any time."
    )

    # From Django 6.1 on, other checks may connect, and a database may be down.
    requires_system_checks = ["outbox"]

    def add_arguments(self, parser):
        parser.add_argument("--follow", action="store_true", help="continue until it is stopped")
        # Not type=float: argparse would answer a wrong number with its usage and exit status 2.
        parser.add_argument(
            "--every", default=1, metavar="SECONDS", help="with --follow: look this often (1)"
        )

    def handle(self, *, follow, every, **options):
        every = seconds("--every", every)
        pairs = [(source, target) for source in conf.sources() for target in conf.targets()]
        if not pairs:
            raise CommandError(
                "OUTBOX_SOURCES or OUTBOX_RECEIVERS is empty: see the app's docstring."
            )
        total, self.follow, self.errors, self.retry_at = Counter(), follow, {}, {}
        stop = Event()
        if follow:
            # The batch that is being delivered is finished first.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *received: stop.set())
        prune_at = 0
        while not stop.is_set():
            outcome = sum((self.deliver(pair) for pair in pairs), Counter())
            total += outcome
            if outcome:
                continue
            if monotonic() >= prune_at and not self.errors:
                prune_at = monotonic() + PRUNE
                self.prune()
            if not follow:
                break
            stop.wait(every)
        self.stdout.write(f"{total['delivered']} delivered, {total['failed']} failed.")
        if self.errors and not follow:
            raise CommandError(" ".join(dict.fromkeys(self.errors.values())))

    def deliver(self, pair):
        """Deliver a batch. Return its numbers. A database that is unavailable is reported once."""
        if monotonic() < self.retry_at.get(pair, 0):
            return Counter()
        try:
            outcome = deliver_batch(*pair)
        except Unavailable as error:
            line = f"{error}.{missing(error.alias)}"
            if self.follow and self.errors.get(pair) != line:
                self.stderr.write(f"{line} Trying again every {RETRY} seconds.")
            self.errors[pair] = line
            self.retry_at[pair] = monotonic() + RETRY
            return Counter()
        if self.errors.pop(pair, None):
            self.stdout.write(f"{' to '.join(pair)}: works again.")
            self.stdout.flush()  # into a pipe or a log, Python would write it much later
        return outcome

    def prune(self):
        for source in conf.sources():
            try:
                prune(source)
            except DatabaseError as error:  # Deleting can wait for an hour.
                self.stderr.write(f"Old messages of {source} were not deleted: {error}")
