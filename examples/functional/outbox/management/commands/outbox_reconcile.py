from contextlib import ExitStack

from django.core.management import BaseCommand, CommandError
from django.db import Error as DatabaseError
from django.db import transaction

from outbox import conf
from outbox.checks import missing
from outbox.restored import reconcile

LINES = {
    "again": "delivered again",
    "lost": "not delivered again, because they were deleted after OUTBOX_KEEP_DAYS",
    "applied": "that waited, but had been applied, and now count as delivered",
    "renumbered": "sent after the restore, which got new numbers and wait",
    "unknown": "applied, but missing in {source}: compare their effects by hand",
}


class Command(BaseCommand):
    help = (
        "After a restore of a database: compare the messages that were sent with those that were "
        "applied, and make them agree. First stop the site and the workers."
    )

    requires_system_checks = ["outbox"]

    def add_arguments(self, parser):
        parser.add_argument("--dry-run", action="store_true", help="change nothing")

    def handle(self, *, dry_run, **options):
        for source in conf.sources():
            for target in conf.targets():
                try:
                    found = self.reconcile(source, target, dry_run)
                except DatabaseError as error:
                    hints = "".join(map(missing, {source, target}))
                    raise CommandError(f"{' '.join(str(error).split())}.{hints}") from error
                for name, count in found.items():
                    text = LINES[name].format(source=source)
                    self.stdout.write(f"{source} to {target}: messages {text}: {count}.")
                if not found:
                    self.stdout.write(f"{source} to {target}: nothing differs.")
        if dry_run:
            self.stdout.write("Nothing was changed.")

    def reconcile(self, source, target, dry_run):
        # Two transactions. If only one of them is committed, run the command again.
        with ExitStack() as stack:
            for alias in dict.fromkeys([source, target]):
                stack.enter_context(transaction.atomic(using=alias))
            found = reconcile(source, target)
            if dry_run:
                for alias in (source, target):
                    transaction.set_rollback(True, using=alias)
        return found
