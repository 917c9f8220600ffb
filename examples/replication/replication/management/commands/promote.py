import time

from django.core.management import BaseCommand

from replication import files
from replication.files import NeedsSnapshot, ReplicationError
from replication.promotion import promote


class Command(BaseCommand):
    help = (
        "Replace a primary that is lost by a replica. The primary's file gets the data of the "
        "replica, and a new log. Changes that the replica had not applied are lost."
    )

    def add_arguments(self, parser):
        parser.add_argument("alias", help="the alias of the replica")
        parser.add_argument("--force", action="store_true", help="even if the primary is not lost")

    def handle(self, *, alias, force, **options):
        ((_, replica),) = files.replicas(alias).items()
        primary = files.primary_of(alias)
        try:
            position, caught_up_at, last, kept = promote(primary, replica, force)
        except NeedsSnapshot as error:
            raise ReplicationError(f"{alias} is {error}, so it can't be promoted.") from error
        self.stdout.write(f"{primary.name} now has the data of {alias}, at position {position}.")
        if last is None:
            seconds = time.time() - caught_up_at
            self.stdout.write(
                f"Lost: all changes after {alias} was last up to date, {seconds:.1f} s ago."
            )
        else:
            self.stdout.write(f"Lost: {last - position} changes that {alias} had not applied.")
        if kept:
            self.stdout.write(f"The old primary was copied to {kept}.")
        self.renew_replicas(alias)

    def renew_replicas(self, alias):
        self.stdout.write("Now run: python manage.py replicate --snapshot")
