from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS

from sharding.buckets import in_buckets, ranges, read_map
from sharding.errors import errors_in_one_line, some
from sharding.models import sharded_models
from sharding.schema import check_migrated, difference


def count(model, alias, uncounted):
    rows = model._base_manager.using(alias)
    return (rows.exclude(in_buckets(uncounted)) if uncounted else rows).count()


class Command(BaseCommand):
    help = (
        "Show for each shard how many buckets it has, how many rows that count, and which "
        "migrations it lacks, or has that the code doesn't know; then which buckets are moving."
    )

    def handle(self, **options):
        check_migrated(DEFAULT_DB_ALIAS)
        with errors_in_one_line(DEFAULT_DB_ALIAS):
            found = read_map()
        models = sharded_models()
        names = [str(model._meta.verbose_name_plural) for model in models]
        line = "{:<10} {:>8}" + " {:>12}" * len(models) + "  {}"
        self.stdout.write(line.format("shard", "buckets", *names, "migrations"))
        for alias in settings.SHARDS:
            rows, state = self.describe(alias, models, found.uncounted(alias))
            self.stdout.write(line.format(alias, len(found.buckets(alias)), *rows, state))
        for target in sorted(set(found.moving.values())):
            numbers = found.uncounted(target)
            spans = ",".join(
                str(first) if first == last else f"{first}-{last}"
                for first, last in ranges(numbers)
            )
            self.stdout.write(
                f"Moving, with rows on {target} that don't count: {spans}. If no reshard is "
                "running, run it again."
            )

    def describe(self, alias, models, uncounted):
        try:
            lacks, unknown = difference(alias)
            with errors_in_one_line(alias):
                # A shard that lacks migrations may lack the tables too.
                rows = ["" if lacks else f"{count(model, alias, uncounted):,}" for model in models]
        except CommandError as error:
            return [""] * len(models), error
        states = [f"lacks {some(lacks)}"] if lacks else []
        states += [f"has {some(unknown)}, unknown here"] if unknown else []
        return rows, "; ".join(states) or "all"
