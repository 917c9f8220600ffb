from django.core.management import BaseCommand, CommandError
from django.db import Error as DatabaseError

from outbox import conf
from outbox.checks import missing
from outbox.management.seconds import seconds
from outbox.status import statuses


class Command(BaseCommand):
    help = (
        "Show how many messages wait, how old the oldest of them is, and how many were set aside. "
        "For a monitor, use --max-age."
    )

    requires_system_checks = ["outbox"]

    def add_arguments(self, parser):
        parser.add_argument(
            "--max-age",
            metavar="SECONDS",
            help="fail if a message is older than this, or if a message was set aside",
        )

    def handle(self, *, max_age, **options):
        limit = None if max_age is None else seconds("--max-age", max_age)
        try:
            found = statuses()
        except DatabaseError as error:
            hints = "".join(map(missing, conf.sources()))
            raise CommandError(f"{' '.join(str(error).split())}.{hints}") from error
        for status in found:
            age = "" if status.oldest is None else f", the oldest {status.oldest:.0f} s old"
            self.stdout.write(
                f"{status.source} to {status.target}, {status.topic}: {status.waiting} waiting, "
                f"{status.failing} failing, {status.aside} set aside{age}, "
                f"{status.delivered} delivered."
            )
        if limit is not None:
            oldest = max((status.oldest or 0 for status in found), default=0)
            aside = sum(status.aside for status in found)
            if aside:
                raise CommandError(f"{aside} set aside: see the admin, or Message.error.")
            if oldest > limit:
                raise CommandError(
                    f"A message has waited for {oldest:.0f} s, longer than {limit:g} s. "
                    "Is python manage.py deliver --follow running?"
                )
