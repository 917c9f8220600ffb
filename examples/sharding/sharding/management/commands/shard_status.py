from django.apps import apps
from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS

from sharding.buckets import in_buckets, ranges, read_map
from sharding.errors import errors_in_one_line, some
from sharding.fences.models import HeldBucket
from sharding.models import sharded_models
from sharding.schema import NO_SHARDS, check_migrated, difference


def count(model, alias, uncounted):
    rows = model._base_manager.using(alias)
    return (rows.exclude(in_buckets(uncounted)) if uncounted else rows).count()


def spans(numbers):
    """Return a text like "0-99,205", which `reshard` accepts."""
    return ",".join(
        str(first) if first == last else f"{first}-{last}" for first, last in ranges(numbers)
    )


def faults(alias):
    """Yield where a shard and the map disagree, after a restored backup or `loaddata`, say."""
    found = read_map()
    # While a bucket moves, both shards may have its rows, and neither has to take writes.
    here = {number for number in found.buckets(alias) if number not in found.moving}
    moving = {
        number for number in found.moving if alias in (found.aliases[number], found.moving[number])
    }
    strays = {}
    for model in sharded_models():
        rows = model._base_manager.using(alias).exclude(in_buckets(here | moving))
        if count := rows.count():
            strays[str(model._meta.verbose_name_plural)] = count
    held = set(HeldBucket.objects.using(alias).values_list("number", flat=True))
    if read_map().placement != found.placement:
        yield from faults(alias)  # a move has begun or ended since: read again
        return
    if strays:
        rows = " and ".join(f"{count:,} {name}" for name, count in strays.items())
        yield f"{alias} has {rows} of buckets that the map gives to another shard."
    if wrong := held - here - moving:
        yield (
            f"{alias} takes writes for buckets that the map gives to another shard: {spans(wrong)}."
        )
    if lacking := here - held:
        yield f"{alias} takes no writes for buckets that the map gives to it: {spans(lacking)}."


class Command(BaseCommand):
    help = (
        "Show for each shard its buckets, its rows without those that are uncounted, and the "
        "migrations that it lacks or that are not in the code. Then show which buckets are moving, "
        "and where the shards and the map disagree."
    )

    def handle(self, **options):
        if not settings.SHARDS:
            return NO_SHARDS
        check_migrated(DEFAULT_DB_ALIAS)
        with errors_in_one_line(DEFAULT_DB_ALIAS):
            found = read_map()
        models = sharded_models()
        names = [str(model._meta.verbose_name_plural) for model in models]
        line = "{:<10} {:>8}" + " {:>12}" * len(models) + "  {}"
        self.stdout.write(line.format("shard", "buckets", *names, "migrations"))
        wrong = []
        for alias in settings.SHARDS:
            rows, state = self.describe(alias, models, found.uncounted(alias))
            self.stdout.write(line.format(alias, len(found.buckets(alias)), *rows, state))
            if state == "all":
                with errors_in_one_line(alias):
                    wrong += faults(alias)
                    if apps.is_installed("sharding.reference"):
                        from sharding.reference.models import behind

                        wrong += behind(alias)
        for target in sorted(set(found.moving.values())):
            self.stdout.write(
                f"Moving, with uncounted rows on {target}: {spans(found.uncounted(target))}. If no "
                "reshard is running, run it again."
            )
        for line in wrong:
            self.stdout.write(line)

    def describe(self, alias, models, uncounted):
        try:
            lacks, unknown = difference(alias)
            with errors_in_one_line(alias):
                # A shard that lacks migrations may lack the tables too.
                rows = ["" if lacks else f"{count(model, alias, uncounted):,}" for model in models]
        except CommandError as error:
            return [""] * len(models), error
        states = [f"lacks {some(lacks)}"] if lacks else []
        states += [f"has {some(unknown)}, not in the code"] if unknown else []
        return rows, "; ".join(states) or "all"
