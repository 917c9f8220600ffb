"""The fence: a bucket can't move while a transaction writes to it.

A process may have read the map before a bucket moved. So a shard has a row for each bucket that it
takes writes for (``HeldBucket``). A write locks this row in its own transaction. A move deletes the
row first.

On PostgreSQL, MySQL and MariaDB, writers share the lock: they delay the move, but not each other.
"""

import time
from contextlib import ExitStack, contextmanager

from django.conf import settings
from django.db import connections, transaction

from sharding.buckets import alias_of, by_alias, forget_map, read_map, shard_map
from sharding.fences.models import HeldBucket
from sharding.fields import bucket_of_row

PATIENCE = 10  # seconds that a write waits for a bucket that is moving

# The SQL for a shared lock, which prevents the deletion of a row. Django has no method for it. On
# other engines the lock is exclusive; on SQLite a transaction locks the whole file anyway.
SHARED = {"postgresql": "FOR KEY SHARE", "mysql": "LOCK IN SHARE MODE"}


class WrongShard(Exception):
    """The rows belong on another shard than using() names, or on several shards."""


class BucketMoving(Exception):
    """The bucket is moving: do the whole transaction again."""


@contextmanager
def writing(buckets, using=None, *, alone=False):
    """Open a transaction on the shard that has these buckets, and yield its alias.

    The buckets can't move until the transaction ends. If a bucket is moving, wait until the move
    has ended. In a transaction that was open before, raise ``BucketMoving`` instead, because the
    whole transaction must be done again. With ``alone``, wait for all other writers of these
    buckets, and let them wait until this transaction ends.
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
    """Open a transaction on a shard, as ``writing()`` does, for all buckets of the shard.

    Yields the numbers of the buckets of which the shard may have uncounted rows.
    """
    nested = connections[alias].in_atomic_block
    until = time.monotonic() + PATIENCE
    while True:
        current = shard_map()
        if current.moving:
            current = read_map()  # as alias_of() does, but for all buckets
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

    Raises the errors of ``writing()``. If some rows don't belong on ``using``, none is written.
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
                continue  # some have moved: find the shards again
            write(alias, some)
        written = set(map(id, some))
        left = [row for row in left if id(row) not in written]


def hold(buckets, alias, alone=False):
    """Lock buckets on a shard until the transaction ends; return whether all are there."""
    if not buckets or not settings.SHARDS:  # without shards, no bucket can move
        return True
    connection = connections[alias]
    lock = SHARED.get(connection.vendor)
    if lock is None or alone:
        # An exclusive lock: writers and the move wait in turn. With shared locks, ever new writers
        # could keep the move waiting without end. So they are not used while a bucket is to move.
        lock = connection.ops.for_update_sql() if connection.features.has_select_for_update else ""
    quote = connection.ops.quote_name
    number, marks = quote("number"), ", ".join(["%s"] * len(buckets))
    # In SQL, because Django would take longer to build this statement than a database to run it.
    # In the order of the numbers, so that two transactions can't deadlock.
    sql = (
        f"SELECT {number} FROM {quote(HeldBucket._meta.db_table)} WHERE {number} IN ({marks}) "
        f"ORDER BY {number} {lock}"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, buckets)
        return len(cursor.fetchall()) == len(buckets)


def wait(nested, until, names):
    """Wait a moment, and forget the map; or raise ``BucketMoving``."""
    if nested or time.monotonic() > until:
        raise BucketMoving(f"A bucket is moving from or to {names}. Try the transaction again.")
    time.sleep(0.01)
    forget_map()
