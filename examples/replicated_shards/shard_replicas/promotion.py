"""Makes the shard map and a shard agree again, when one of the shard's replicas takes its place.

What the replica had not applied is lost, and among it may be steps of `reshard`. So the shard may
have buckets again that had gone from it, and lack some that had come. What it has forgotten is told
by what the replica holds (`HeldBucket` is a row like any other), and by its position.
"""

from contextlib import contextmanager, suppress

from django.core.management import CommandError
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import F

from replicas import health
from shard_replicas.readable import NotReplicated, positions_of
from sharding.buckets import in_buckets, read_map
from sharding.errors import errors_in_one_line
from sharding.fences.models import HeldBucket
from sharding.keys import BUCKET_SHIFT
from sharding.models import sharded_models
from sharding.reshard import change_map, turn


def buckets_with_rows(alias):
    """Return the numbers of the buckets that a database has rows of; reads all keys."""
    number = F("pk").bitrightshift(BUCKET_SHIFT)
    return {
        bucket
        for model in sharded_models()
        for bucket in model.objects.using(alias).values_list(number, flat=True).distinct()
    }


def has_rows(bucket, alias):
    """Return whether a database has any row of a bucket."""
    with errors_in_one_line(alias):
        return any(
            model.objects.using(alias).filter(in_buckets([bucket])).exists()
            for model in sharded_models()
        )


@contextmanager
def promoting(shard, replica, force=False):
    """In the block, the replica takes the place of the shard, and all replicas become copies of it.

    This mends the map before and after: no reader counts rows that have come back, and the only
    rows of a bucket are kept, wherever they are. Raises CommandError where the replica never had
    them, and no other shard has, unless ``force`` is true: another replica may have. Where a server
    has promoted by itself, ``replica`` is the shard: then this mends the map after.
    """
    with turn() as run:
        with errors_in_one_line(DEFAULT_DB_ALIAS):
            found = read_map()
            position = positions_of([shard]).get(shard)
        here = set(found.buckets(shard))
        with errors_in_one_line(replica):
            held = set(HeldBucket.objects.using(replica).values_list("number", flat=True))
            # Of the shard itself, promoted already, nobody knows: its log is another one now.
            behind = replica == shard or (
                position is not None and not health.reached(replica, position)
            )
            rows = buckets_with_rows(replica) if behind else set()
            returned = (held | rows) - here if behind else set()
        # Buckets that have come, of which the replica has not heard. Where they came from, all rows
        # are still, or none: they are deleted a bucket at a time. (A replica that isn't behind has
        # whatever it doesn't hold: that is about to go, or has come whole.)
        lacking = here - held if behind else set()
        back = {n for n in lacking & found.moving.keys() if has_rows(n, found.moving[n])}
        lost = lacking - back
        if replica == shard:
            lost -= rows & found.moving.keys()  # a run was killed before it had copied these
        if lost and not force:
            numbers = ", ".join(map(str, sorted(lost)))
            cure = "Restore them" if replica == shard else "Promote another replica"
            raise CommandError(
                f"{replica} lacks buckets that have come to {shard} and are nowhere else: "
                f"{numbers}. {cure}, or lose them with --force."
            )
        if forgotten := returned - found.moving.keys():
            run.mark(forgotten, shard)
        for number in back:
            with run.step(DEFAULT_DB_ALIAS):
                change_map(
                    [number], placement=False, alias=found.moving[number], uncounted_on=shard
                )
        yield
        connections[shard].close()  # should it have been open, it is to the lost one
        with run.step(shard):
            HeldBucket.objects.using(shard).filter(number__in=held - here).delete()
        run.open(here)
        if behind:
            # Its position is a place in the new log now. No replica follows the old one any more.
            with run.step(DEFAULT_DB_ALIAS):
                change_map([], placement=False, shards=[shard])
        with suppress(NotReplicated):  # then it is left to the next reshard, and does no harm
            run.settle()
