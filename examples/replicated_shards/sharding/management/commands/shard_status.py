from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS

from sharding.buckets import in_buckets, ranges, read_map
from sharding.errors import errors_in_one_line, some
from sharding.fences.models import HeldBucket
from sharding.models import sharded_models
from sharding.schema import check_migrated, difference


def count(model, alias, uncounted):
    rows = model._base_manager.using(alias)
    return (rows.exclude(in_buckets(uncounted)) if uncounted else rows).count()


def spans(numbers):
    """Return a text like "0-99,205": `reshard` takes such."""
    return ",".join(
        str(first) if first == last else f"{first}-{last}" for first, last in ranges(numbers)
    )


def faults(alias):
    """Yield what a shard has or lacks against the map: a restored backup, say, or `loaddata`."""
    found = read_map()
    # Of a bucket that is moving, either shard may have rows, and neither has to take writes.
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
        yield from faults(alias)  # a move has begun or ended meanwhile: look again
        return
    if strays:
        rows = " and ".join(f"{count:,} {name}" for name, count in strays.items())
        yield f"{alias} has {rows} of buckets that are another shard's."
    if wrong := held - here - moving:
        yield f"{alias} takes writes for buckets that are another shard's: {spans(wrong)}."
    if lacking := here - held:
        yield f"{alias} takes no writes for buckets that are its own: {spans(lacking)}."


class Command(BaseCommand):
    help = (
        "Show for each shard how many buckets it has, how many rows that count, and which "
        "migrations it lacks, or has that the code doesn't know; then which buckets are moving, "
        "and what a shard has that the map gives to another."
    )

    def handle(self, **options):
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
        for target in sorted(set(found.moving.values())):
            self.stdout.write(
                f"Moving, with rows on {target} that don't count: "
                f"{spans(found.uncounted(target))}. If no reshard is running, run it again."
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
        states += [f"has {some(unknown)}, unknown here"] if unknown else []
        return rows, "; ".join(states) or "all"
