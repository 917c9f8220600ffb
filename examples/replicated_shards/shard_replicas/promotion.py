"""Corrects the shard map when one of a shard's replicas replaces the primary of the shard.

Changes that the replica had not applied are lost. These may include steps of `reshard`. So the
shard may again have buckets that had left it, and it may lack buckets that had come to it. The
replica's own rows of `HeldBucket`, and its position, show which steps it lacks.
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
    """Return the numbers of the buckets that have rows in a database. This reads all keys."""
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
    """Correct the map before and after the block, in which the replica replaces the primary.

    The block also makes all replicas copies of the new primary. If a server has promoted a standby
    by itself, pass the shard as ``replica``, and an empty block. Then no reader counts rows of a
    bucket that had left the shard, and the only rows of a bucket are kept, on whichever shard they
    are. Raises CommandError if neither the replica nor another shard has the rows of a bucket,
    because another replica may have them. If ``force`` is true, these rows are lost.
    """
    with turn() as run:
        with errors_in_one_line(DEFAULT_DB_ALIAS):
            found = read_map()
            position = positions_of([shard]).get(shard)
        here = set(found.buckets(shard))
        with errors_in_one_line(replica):
            held = set(HeldBucket.objects.using(replica).values_list("number", flat=True))
            # A shard that was promoted already has a new log. The log can't show whether the shard
            # had reached the position. So treat this shard as behind.
            behind = replica == shard or (
                position is not None and not health.reached(replica, position)
            )
            rows = buckets_with_rows(replica) if behind else set()
            returned = (held | rows) - here if behind else set()
        # Buckets that have come to the shard, but not to the replica. The old shard has all rows of
        # a bucket or none, because it deletes them in one transaction. (A replica that isn't behind
        # lacks no rows, even if HeldBucket lacks a bucket. Then the bucket is about to leave, or it
        # has come, and all of its rows were copied.)
        lacking = here - held if behind else set()
        back = {n for n in lacking & found.moving.keys() if has_rows(n, found.moving[n])}
        lost = lacking - back
        if replica == shard:
            lost -= rows & found.moving.keys()  # a run was killed before it copied these
        if lost and not force:
            numbers = ", ".join(map(str, sorted(lost)))
            cure = "Restore their rows" if replica == shard else "Promote another replica"
            raise CommandError(
                f"The map says that {shard} has these buckets, but {replica} lacks them, and no "
                f"other shard has them: {numbers}. {cure}, or accept the loss with --force."
            )
        if forgotten := returned - found.moving.keys():
            run.mark(forgotten, shard)
        for number in back:
            with run.step(DEFAULT_DB_ALIAS):
                change_map(
                    [number], placement=False, alias=found.moving[number], uncounted_on=shard
                )
        yield
        connections[shard].close()  # a connection that was open leads to the lost primary
        with run.step(shard):
            HeldBucket.objects.using(shard).filter(number__in=held - here).delete()
        run.open(here)
        if behind:
            # Note a position in the new log. No replica follows the old log any more.
            with run.step(DEFAULT_DB_ALIAS):
                change_map([], placement=False, shards=[shard])
        with suppress(NotReplicated):  # then the next reshard settles; no row counts twice
            run.settle()
