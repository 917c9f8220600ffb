"""The fence: a write is made where its bucket is, and the bucket stays until that is committed.

The map may have been read just before a bucket moved. So a shard keeps a row for each bucket that
it takes writes for (``HeldBucket``). A write locks that row, in its own transaction. A move deletes
it first.

Writers share the lock, where the database can: they keep only the move waiting, not each other.
"""

import time
from contextlib import ExitStack, contextmanager

from django.db import connections, transaction

from sharding.buckets import alias_of, by_alias, forget_map, read_map, shard_map
from sharding.fences.models import HeldBucket
from sharding.fields import bucket_of_row

PATIENCE = 10  # seconds that a write waits for a bucket that is moving

# What locks a row against being deleted, and lets others do the same. Django has no word for it.
# On other engines a writer locks the row alone; SQLite's transaction has the whole file anyway.
SHARED = {"postgresql": "FOR KEY SHARE", "mysql": "LOCK IN SHARE MODE"}


class WrongShard(Exception):
    """The rows belong on another shard than the one that was named with using()."""


class BucketMoving(Exception):
    """The bucket is moving just now: do the whole transaction again."""


@contextmanager
def writing(buckets, using=None, *, alone=False):
    """Open a transaction on the shard that has these buckets, and yield its alias.

    The shard keeps the buckets until the transaction ends: no move can come between. While one of
    them is on the move, wait for it; in a transaction that was open before, raise ``BucketMoving``,
    since what it did already has to be done again too. With ``alone``, wait for all who write to
    these buckets, and keep them waiting.
    """
    buckets = sorted(buckets)
    until = time.monotonic() + PATIENCE
    while True:
        aliases = {alias_of(bucket) for bucket in buckets}
        names = " and ".join(sorted(aliases))
        moving = not shard_map().moving.keys().isdisjoint(buckets)
        if using is not None and aliases != {using}:
            if moving:
                raise BucketMoving(
                    f"A bucket is moving from or to {using}. Try the transaction again."
                )
            raise WrongShard(f"These rows belong on {names}, not on {using}.")
        if len(aliases) != 1 and not moving:
            raise WrongShard(
                f"These rows are on {names}. One transaction can't write to several shards: write "
                "the rows of each shard by themselves."
            )
        nested = any(connections[alias].in_atomic_block for alias in aliases)
        if len(aliases) == 1:
            (alias,) = aliases
            with transaction.atomic(using=alias, savepoint=False):
                if hold(buckets, alias, alone or (moving and not nested)):
                    yield alias
                    return
        wait(nested, until, names)


@contextmanager
def writing_all(alias):
    """Open a transaction on a shard, as ``writing()`` does, for all buckets that it has.

    Yields those of which it may have rows that don't count.
    """
    nested = connections[alias].in_atomic_block
    until = time.monotonic() + PATIENCE
    while True:
        current = shard_map()
        if current.moving:
            current = read_map()  # as alias_of() asks, but of all
        buckets = current.buckets(alias)
        moving = current.moving.keys() & buckets
        with transaction.atomic(using=alias, savepoint=False):
            if hold(sorted(moving), alias, alone=not nested) and hold(
                [number for number in buckets if number not in moving], alias
            ):
                yield current.uncounted(alias)
                return
        wait(nested, until, alias)


def write_rows(rows, write, using=None):
    """Call ``write(alias, some)`` in a transaction for each shard that has some of the rows.

    Raises as ``writing()`` does, before any is written if ``using`` is not where all are.
    """
    left = list(rows)
    while left:
        groups = {using: left} if using else by_alias(left, bucket_of_row)
        alias, some = next(iter(groups.items()))
        nested = connections[alias].in_atomic_block
        with ExitStack() as stack:
            try:
                stack.enter_context(writing({bucket_of_row(row) for row in some}, alias))
            except (BucketMoving, WrongShard):
                if using or nested or by_alias(some, bucket_of_row).keys() == {alias}:
                    raise
                continue  # some have moved: find all of them anew
            write(alias, some)
        written = set(map(id, some))
        left = [row for row in left if id(row) not in written]


def hold(buckets, alias, alone=False):
    """Keep buckets on a shard until the open transaction ends; return whether it has them all."""
    if not buckets:
        return True
    connection = connections[alias]
    lock = SHARED.get(connection.vendor)
    if lock is None or alone:
        # A move waits behind those who came first, and they behind it. Where the lock is shared,
        # those who come later might pass it by for ever: hence not while the bucket is to move.
        lock = connection.ops.for_update_sql() if connection.features.has_select_for_update else ""
    quote = connection.ops.quote_name
    number, marks = quote("number"), ", ".join(["%s"] * len(buckets))
    # Written out, since Django would take longer to make this statement than a database to answer
    # it. In the order of the numbers, so that no two transactions wait for each other.
    sql = (
        f"SELECT {number} FROM {quote(HeldBucket._meta.db_table)} WHERE {number} IN ({marks}) "
        f"ORDER BY {number} {lock}"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, buckets)
        return len(cursor.fetchall()) == len(buckets)


def wait(nested, until, names):
    """Wait a moment for buckets that move, and forget the map; or raise ``BucketMoving``."""
    if nested or time.monotonic() > until:
        raise BucketMoving(f"A bucket is moving from or to {names}. Try the transaction again.")
    time.sleep(0.01)
    forget_map()
