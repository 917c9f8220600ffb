"""The fence: a write is made where its bucket is, and the bucket stays until that is committed.

The map may have been read just before a bucket moved. So a shard keeps a row for each bucket that
it takes writes for (``HeldBucket``). A write locks that row, in its own transaction. A move deletes
it first.
"""

import time
from contextlib import contextmanager

from django.db import connections, transaction

from sharding.buckets import alias_of, forget_map
from sharding.fences.models import HeldBucket

PATIENCE = 10  # seconds that a write waits for a bucket that is moving


class WrongShard(Exception):
    """The rows belong on another shard than the one that was named with using()."""


class BucketMoving(Exception):
    """The bucket is moving just now: do the whole transaction again."""


@contextmanager
def writing(buckets, using=None):
    """Open a transaction on the shard that has these buckets, and yield its alias.

    The shard keeps the buckets until the transaction ends: no move can come between. While one of
    them is on the move, wait for it; in a transaction that was open before, raise ``BucketMoving``,
    since what it did already has to be done again too.
    """
    buckets = sorted(buckets)
    until = time.monotonic() + PATIENCE
    while True:
        aliases = {alias_of(bucket) for bucket in buckets}
        names = " and ".join(sorted(aliases))
        if using is not None and aliases != {using}:
            raise WrongShard(f"These rows belong on {names}, not on {using}.")
        if len(aliases) != 1:
            raise WrongShard(f"One transaction can't write to {names}.")
        (alias,) = aliases
        nested = connections[alias].in_atomic_block
        with transaction.atomic(using=alias, savepoint=False):
            # In the order of their numbers, so that no two transactions wait for each other. The
            # lock is the database's, or where it has none for rows, the transaction itself.
            held = HeldBucket.objects.using(alias).select_for_update().order_by("number")
            if len(held.filter(number__in=buckets)) == len(buckets):
                yield alias
                return
        if nested or time.monotonic() > until:
            raise BucketMoving(f"A bucket is moving from or to {alias}: try again.")
        time.sleep(0.01)
        forget_map()
