import time

from django.core.management import BaseCommand

from replication import files
from replication.files import NeedsSnapshot, ReplicationError
from replication.promotion import promote


class Command(BaseCommand):
    help = (
        "Put a replica in the place of a primary that is lost: the primary's file gets what the "
        "replica holds, and a log of its own. What the replica had not applied is lost."
    )

    def add_arguments(self, parser):
        parser.add_argument("alias", help="the replica")
        parser.add_argument("--force", action="store_true", help="also when the primary isn't lost")

    def handle(self, *, alias, force, **options):
        ((_, replica),) = files.replicas(alias).items()
        primary = files.primary_of(alias)
        try:
            position, caught_up_at, last, kept = promote(primary, replica, force)
        except NeedsSnapshot as error:
            raise ReplicationError(f"{alias} is {error}: it can't be promoted.") from error
        self.stdout.write(f"{primary.name} is now what {alias} was, at position {position}.")
        if last is None:
            seconds = time.time() - caught_up_at
            self.stdout.write(
                f"Lost: what was committed after {alias} was last up to date, {seconds:.1f} s ago."
            )
        else:
            self.stdout.write(f"Lost: {last - position} changes that {alias} had not applied.")
        if kept:
            self.stdout.write(f"The old primary is kept as {kept}.")
        self.renew_replicas(alias)

    def renew_replicas(self, alias):
        self.stdout.write("Now run: python manage.py replicate --snapshot")
