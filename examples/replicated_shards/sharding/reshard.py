"""Moves buckets to another shard while the application reads and writes.

No transaction spans two databases. So a move is a row of steps, each a transaction on one database,
in an order such that all is well between any two of them. For a bucket that moves from A to B:

======= ======= ================================ ===================================================
step    on      what is committed                what holds from then on
======= ======= ================================ ===================================================
mark    default the map's ``copy`` is B          Rows on B don't count. After twice LEASE seconds
                                                 all know: each looks for the bucket in the map
                                                 itself, and not in what it remembers.
fence   A       A doesn't hold the bucket        Nobody can write to it: its rows stand still.
copy    B       the rows                         They are verified, against those on A.
switch  default ``alias`` is B, ``copy`` is A    Rows on B count, those on A don't.
open    B       B holds the bucket               It can be written to.
delete  A       the rows are gone                Only B has any. This waits until all buckets have
                                                 been switched, and then for LEASE seconds, as
                                                 somebody may be reading what the map said before.
unmark  default ``copy`` is null                 All is at rest.
======= ======= ================================ ===================================================

Where it stops in between, the map's ``alias`` has all the rows that count, and nothing else does.
So what a killed run has left is mended the same way whatever its last step was: open the bucket on
the map's alias, delete what its ``copy`` has, unmark. Then the move begins anew, or is done.

A replica lags behind its shard. It may lack rows that the map counts already, or still have rows of
a bucket that has gone. So with the switch, and with the unmarking, the map gets the position from
which on the shard's replicas agree with it; who reads asks for that (`buckets.readable_from`). And
before rows are deleted, a replica of their new shard has to have them: else both would be lost with
one primary, B's, while A was well.

Three things hold at all times, and the rest follows from them:

1. The shard that the map names has all rows of the bucket.
2. At most one shard holds a bucket (`HeldBucket`), and a writer asks for that in the transaction it
   writes in. It is the shard that the map names: A stops before the switch, B starts after.
3. Rows that the map doesn't count are known to be there before they are: ``copy`` says where.

The writers of one bucket wait for as long as that one is copied. To copy first, and what changed
meanwhile after, would be shorter for them, but needs a log of the changes on every shard. A bucket
is a small part of all rows: that is what they are for.
"""

import threading
import time
from contextlib import contextmanager, suppress
from itertools import zip_longest

from django.conf import settings
from django.core.management import CommandError
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, transaction
from django.db.models import F

from replicas import health
from sharding import buckets
from sharding.buckets import Resharding, change_map, keys_of, read_map
from sharding.fences.models import HeldBucket, Token
from sharding.models import sharded_models
from sharding.schema import check_migrated, errors_name

BATCH = 1000  # rows that are read, and written, at once
PATIENCE = 5  # seconds to wait for a replica to have what was copied


class NotReplicated(CommandError):
    """No replica has what was moved: the old rows are not deleted yet."""


def reshard(numbers, target, bar=None):
    """Move buckets to the shard ``target``; first, mend what a run that was killed has left.

    Returns how many buckets were not there yet, and how many rows these have. ``bar`` is told of
    each bucket, like a tqdm. Raises CommandError, which says what is wrong, and leaves each bucket
    in one place or the other: the next run goes on.
    """
    with turn() as run:
        run.settle()
        with errors_name(DEFAULT_DB_ALIAS):
            found = read_map()
        moving = [number for number in numbers if found.aliases[number] != target]
        sources = sorted({found.aliases[number] for number in moving})
        for alias in [*sources, target]:
            check_migrated(alias)
            if connections[alias].vendor != connections[target].vendor:
                raise CommandError(f"{alias} and {target} are of different engines.")
        if bar is not None:
            bar.reset(len(moving))
        rows = 0
        if moving:
            run.mark(moving, target)
            for number in moving:
                rows += run.move(number, found.aliases[number], target)
                if bar is not None:
                    bar.update()
            run.settle()
    return len(moving), rows


@contextmanager
def turn():
    """Be the one run at this time: yields a Run. Raises CommandError where there is another."""
    with errors_name(DEFAULT_DB_ALIAS):
        run = Run(take_turn())
    stop = threading.Event()
    heart = threading.Thread(target=run.beat, args=[stop], daemon=True)
    heart.start()
    try:
        yield run
    finally:
        stop.set()
        heart.join()
        with suppress(DatabaseError):
            run.row().update(running=False)


def take_turn():
    """Return a number that no run has had. Raises CommandError where another run is alive.

    It is when its beats are counted on; no clock is compared with another host's. Should it only
    have slept, it finds that it was replaced when it next takes a step.
    """
    rows = Resharding.objects.using(DEFAULT_DB_ALIAS)
    rows.get_or_create(pk=1)
    while True:
        last = rows.get()
        if last.running:
            time.sleep(buckets.LEASE)
            now = rows.get()
            # One beat may have been on its way when who sent it was killed.
            if now.running and now.number == last.number and now.beat > last.beat + 1:
                raise CommandError("Another reshard is running.")
        if rows.filter(number=last.number, beat=last.beat).update(
            number=last.number + 1, beat=0, running=True
        ):
            return last.number + 1


class Run:
    """The steps, each of which only the latest run can take."""

    def __init__(self, number):
        self.number = number

    def row(self):
        return Resharding.objects.using(DEFAULT_DB_ALIAS).filter(number=self.number)

    def beat(self, stop):
        """Show that this run is alive; in a thread of its own."""
        try:
            while not stop.wait(buckets.LEASE / 4):
                with suppress(DatabaseError):  # a step would find that too, and say so
                    self.row().update(beat=F("beat") + 1)
        finally:
            connections.close_all()

    @contextmanager
    def step(self, alias):
        """Open a transaction on a database; raise CommandError where a later run has been.

        The number is a fencing token, kept by each database: "How to do distributed locking",
        Kleppmann, 2016. Its row is locked until the end, so the steps of two runs don't mix.
        """
        model = Resharding if alias == DEFAULT_DB_ALIAS else Token
        with errors_name(alias), transaction.atomic(using=alias):
            rows = model.objects.using(alias)
            rows.get_or_create(pk=1)
            if not rows.filter(number__lte=self.number).update(number=self.number):
                raise CommandError("Another reshard has taken the place of this one.")
            yield

    def mark(self, numbers, target):
        with self.step(DEFAULT_DB_ALIAS):
            change_map(numbers, placement=True, copy=target)
        # Until nobody takes up the map from before, and then until who did last is done with it.
        time.sleep(2 * buckets.LEASE)

    def move(self, number, source, target):
        """Fence, copy, verify, switch and open a bucket; return how many rows it has."""
        try:
            with self.step(source):
                # Waits for those who write at this moment: they have locked that row.
                HeldBucket.objects.using(source).filter(pk=number).delete()
            with self.step(target):
                rows = sum(copy(model, number, source, target) for model in sharded_models())
            for model in sharded_models():
                verify(model, number, source, target)
            positions = written([target])
            with self.step(DEFAULT_DB_ALIAS):
                change_map(
                    [number], placement=False, positions=positions, alias=target, copy=source
                )
        except BaseException:
            with suppress(CommandError):
                self.open([number])
            raise
        self.open([number])
        return rows

    def open(self, numbers):
        """Let the buckets be written to: on the shards that the map names, whichever these are."""
        with self.step(DEFAULT_DB_ALIAS):
            found = read_map()
        for alias in sorted({found.aliases[number] for number in numbers}):
            held = [HeldBucket(number=n) for n in numbers if found.aliases[n] == alias]
            with self.step(alias):
                HeldBucket.objects.using(alias).bulk_create(held, ignore_conflicts=True)

    def settle(self):
        """Leave all buckets that are marked where the map says that they are, and only there."""
        with errors_name(DEFAULT_DB_ALIAS):
            found = read_map()
        copies = found.copies
        if not copies:
            return
        self.open(copies)
        keepers = {found.aliases[number] for number in copies}
        await_replicas({a: p for a, p in found.positions.items() if a in keepers})
        with self.step(DEFAULT_DB_ALIAS):
            change_map([], placement=True)
        time.sleep(buckets.LEASE)
        for number, alias in copies.items():
            with self.step(alias):
                if HeldBucket.objects.using(alias).filter(pk=number).exists():
                    raise CommandError(
                        f"{alias} takes writes for bucket {number}: the map says otherwise."
                    )
                for model in reversed(sharded_models()):
                    delete(model, number, alias)
        positions = written(set(copies.values()))
        with self.step(DEFAULT_DB_ALIAS):
            change_map(copies, placement=False, positions=positions, copy=None)


def written(aliases):
    """Return a dict of the positions of some shards: what they have committed is before these."""
    positions = {}
    for alias in aliases:
        with errors_name(alias):
            positions[alias] = health.position().written(connections[alias])
    return positions


def await_replicas(positions):
    """Wait until of each of these shards, if it has replicas, one has reached a position."""
    until = time.monotonic() + PATIENCE
    for alias, position in positions.items():
        others = settings.REPLICAS[alias]
        while others and not any(health.reached(other, position) for other in others):
            if time.monotonic() > until:
                raise NotReplicated(
                    f"What was moved to {alias} counts there, but no replica of {alias} has it "
                    "yet: it stays where it was, too. When one has, run reshard again."
                )
            time.sleep(0.01)


# The rows go in SQL: as they are, without signals, and without the values that fields make of their
# own accord when they are saved. What a driver has read it can write: so no value is converted.


def names(model, alias):
    """Return a model's table, its key and its columns, quoted."""
    quote = connections[alias].ops.quote_name
    fields = [field for field in model._meta.local_concrete_fields if not field.generated]
    return (
        quote(model._meta.db_table),
        quote(model._meta.pk.column),
        [quote(field.column) for field in fields],
    )


def rows_of(model, bucket, alias):
    """Yield lists of up to BATCH rows of a bucket on a shard, in the order of their keys."""
    table, key, columns = names(model, alias)
    with errors_name(alias), connections[alias].cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(columns)} FROM {table} "
            f"WHERE {key} BETWEEN %s AND %s ORDER BY {key}",
            keys_of(bucket),
        )
        while rows := cursor.fetchmany(BATCH):
            yield list(rows)


def copy(model, bucket, source, target):
    """Insert a bucket's rows into another shard; return how many."""
    table, _, columns = names(model, target)
    values = ", ".join("%s" for _ in columns)
    insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})"
    count = 0
    with connections[target].cursor() as cursor:
        for rows in rows_of(model, bucket, source):
            cursor.executemany(insert, rows)
            count += len(rows)
    return count


def verify(model, bucket, source, target):
    """Raise CommandError where a bucket's rows are not the same on two shards."""
    both = rows_of(model, bucket, source), rows_of(model, bucket, target)
    for there, here in zip_longest(*both, fillvalue=[]):
        if there != here:
            first, second = next(pair for pair in zip_longest(there, here) if pair[0] != pair[1])
            raise CommandError(
                f"{model._meta.label}: {first} on {source} is {second} in the copy on {target}."
            )


def delete(model, bucket, alias):
    table, key, _ = names(model, alias)
    with connections[alias].cursor() as cursor:
        cursor.execute(f"DELETE FROM {table} WHERE {key} BETWEEN %s AND %s", keys_of(bucket))
