from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS

from sharding.errors import errors_in_one_line
from sharding.reference.models import copy
from sharding.schema import NO_SHARDS, check_migrated


class Command(BaseCommand):
    help = (
        "Compare the reference tables of each shard with those in default, and correct what "
        "differs. If a shard fails, the others are corrected, and the exit status is 1."
    )

    def handle(self, **options):
        if not settings.SHARDS:
            return NO_SHARDS
        check_migrated(DEFAULT_DB_ALIAS)
        total, failures = 0, []
        for alias in settings.SHARDS:
            try:
                check_migrated(alias)
                with errors_in_one_line(alias):
                    changed, kept = copy(alias)
            except CommandError as error:
                failures.append(str(error))
            else:
                total += changed
                failures += [f"{alias}: {line}" for line in kept]
        if failures:
            raise CommandError(" ".join(failures))
        self.stdout.write(
            f"{len(settings.SHARDS)} shards have the reference tables of default. "
            f"Rows corrected: {total}."
        )
