"""Moves buckets to another shard while the application reads and writes.

No transaction spans two databases. So a move is a series of steps. Each is a transaction on one
database, and between any two steps all queries are correct. For a bucket that moves from A to B:

======= ======= ================================ ===================================================
step    on      what is committed                what is true after it
======= ======= ================================ ===================================================
mark    default ``uncounted_on`` is B            Rows on B don't count. After twice LEASE seconds
                                                 all processes know this, and query the map for
                                                 this bucket, instead of using a copy.
fence   A       A doesn't hold the bucket        The bucket takes no writes. Its rows don't change.
copy    B       the rows                         They are compared with the rows on A.
switch  default ``alias`` is B, and              Rows on B count, and rows on A don't.
                ``uncounted_on`` is A
open    B       B holds the bucket               The bucket takes writes again.
delete  A       the rows are deleted             Only B has rows. This step waits until all buckets
                                                 are switched, and then for LEASE seconds, because a
                                                 process may still use the map from before.
unmark  default ``uncounted_on`` is null         The move is finished.
======= ======= ================================ ===================================================

If a run stops between two steps, the shard in ``alias`` has all the rows that count. So the next
run repairs every stopped move in the same way: open the bucket on ``alias``, delete the rows on
``uncounted_on``, unmark. Then the move begins again, or is finished.

Three rules are true at all times:

1. The shard that the map names has all rows of the bucket.
2. At most one shard holds a bucket (`HeldBucket`), and each write checks this in its transaction.
   It is the shard that the map names: A stops before the switch, and B starts after it.
3. Before uncounted rows are on a shard, ``uncounted_on`` names this shard.

A backup can break the second rule. After ``default`` or a shard is restored, the map may name one
shard while another holds the bucket. So before a bucket is marked, ``reshard`` reads which buckets
its source and its target hold. If the map disagrees, it changes nothing, and an operator decides.

Writes to a bucket wait while this bucket is copied. Small buckets are copied together. A shorter
wait is possible: copy first, and then copy the changes. But this needs a log of the changes on
every shard. A bucket is a small part of all rows, so its copy takes little time.
"""

import threading
import time
from contextlib import contextmanager, suppress
from itertools import zip_longest

from django.conf import settings
from django.core.management import CommandError
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, transaction
from django.db.models import F

from sharding import buckets
from sharding.buckets import Bucket, MapVersion, ShardMap, forget_map, ranges, read_map
from sharding.bulk import insert, names
from sharding.errors import errors_in_one_line, some
from sharding.fences.models import HeldBucket, Token
from sharding.keys import keys_of
from sharding.models import Resharding, sharded_models
from sharding.schema import check_migrated
from sharding.signals import placement_changing, rows_expiring

BATCH = 1000  # rows that are read, and written, at once
# Small buckets move together: as many as can be copied in about this time, in seconds, during which
# their writers wait.
WAIT = 0.25
# Buckets whose old rows are deleted in one transaction.
DELETED = 32


def reshard(numbers, target, bar=None):
    """Move buckets to the shard ``target``, after repairing the moves of a run that was killed.

    Returns how many buckets were moved, and how many rows they have. ``bar``, a tqdm, is updated
    after each bucket. If it raises CommandError, each bucket is on one shard or the other, and the
    next run continues.
    """
    with turn() as run:
        with errors_in_one_line(DEFAULT_DB_ALIAS):
            found = read_map()
        run.overtake(
            {target, *found.moving.values(), *(found.aliases[n] for n in [*numbers, *found.moving])}
        )
        run.settle()
        with errors_in_one_line(DEFAULT_DB_ALIAS):
            found = read_map()
        moving = [number for number in numbers if found.aliases[number] != target]
        sources = sorted({found.aliases[number] for number in moving})
        for alias in [*sources, target]:
            check_migrated(alias)
            if connections[alias].vendor != connections[target].vendor:
                raise CommandError(
                    f"{alias} and {target} are of different engines. Buckets can move only between "
                    "databases of the same engine."
                )
        check_held(found, set(numbers), [*sources, target])
        if bar is not None:
            bar.reset(len(moving))
        rows = 0
        if moving:
            run.mark(moving, target)
            for source in sources:
                left, size = [n for n in moving if found.aliases[n] == source], 1
                while left:
                    start = time.monotonic()
                    group, left = left[:size], left[size:]
                    rows += run.move(group, source, target)
                    size = next_size(len(group), time.monotonic() - start)
                    if bar is not None:
                        bar.update(len(group))
            run.settle()
    return len(moving), rows


def next_size(size, seconds):
    """Return how many buckets to move at once, if moving ``size`` of them took so long."""
    return 2 * size if seconds < WAIT / 2 else max(1, size // 2) if seconds > WAIT else size


def change_map(numbers, *, placement, shards=(), **fields):
    """Set fields of the entries of some buckets, and count the change, in one transaction.

    ``placement`` says whether gather must repeat queries that have begun. ``shards`` are the
    aliases of the shards whose rows have changed since the map last changed.
    """
    with transaction.atomic(using=DEFAULT_DB_ALIAS):
        # First, because this lock makes other changes of the map wait.
        MapVersion.objects.using(DEFAULT_DB_ALIAS).update(
            version=F("version") + 1, placement=F("placement") + int(placement)
        )
        Bucket.objects.using(DEFAULT_DB_ALIAS).filter(number__in=numbers).update(**fields)
        if numbers or shards:
            placement_changing.send(
                ShardMap, numbers=sorted(numbers), fields=fields, shards=set(shards)
            )
        transaction.on_commit(forget_map, using=DEFAULT_DB_ALIAS)


@contextmanager
def turn():
    """Yield a Run, the only one at this time. Raises CommandError if another run is alive."""
    with errors_in_one_line(DEFAULT_DB_ALIAS):
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
    """Return a number that no run has had. Raises CommandError if another run is alive.

    A run is alive if its beat increases. The clocks of two hosts are never compared. If the other
    run was only suspended, its next step raises CommandError, because a newer run has started.
    """
    rows = Resharding.objects.using(DEFAULT_DB_ALIAS)
    rows.get_or_create(pk=1)
    while True:
        last = rows.get()
        if last.running:
            time.sleep(buckets.LEASE)
            now = rows.get()
            # One beat may still arrive after its process was killed.
            if now.running and now.number == last.number and now.beat > last.beat + 1:
                raise CommandError("Another reshard is running. Wait until it has finished.")
        if rows.filter(number=last.number, beat=last.beat).update(
            number=last.number + 1, beat=0, running=True
        ):
            return last.number + 1


@contextmanager
def unless_down():
    """Ignore the error in the block if a database is unavailable."""
    try:
        yield
    except CommandError as error:
        if not isinstance(error.__cause__, DatabaseError):
            raise


def held_by(alias):
    """Return the numbers of the buckets that a shard takes writes for."""
    with errors_in_one_line(alias):
        return set(HeldBucket.objects.using(alias).values_list("number", flat=True))


def check_held(found, numbers, aliases):
    """Raise CommandError if the shards of a move don't hold the buckets that the map gives them.

    Then ``default`` or a shard was restored from a backup, and another shard may have newer rows.
    """
    for alias in aliases:
        own = numbers.intersection(found.buckets(alias))
        check_not_held(found, numbers - own, alias)
        if lacking := own - held_by(alias):
            for other in settings.SHARDS:
                with unless_down():
                    check_not_held(found, lacking, other)
            raise CommandError(
                f"{alias} takes no writes for buckets that the map gives to it: "
                f"{some(sorted(lacking))}. If {alias} was restored from a backup, first restore "
                f"the rows of these buckets. Then create a HeldBucket on {alias} for each bucket."
            )


def check_not_held(found, numbers, alias):
    """Raise CommandError if a shard holds one of these buckets, which the map gives to another."""
    if wrong := sorted(held_by(alias).intersection(numbers)):
        other = found.aliases[wrong[0]]
        wrong = [number for number in wrong if found.aliases[number] == other]
        raise CommandError(
            f"{alias} takes writes for buckets that the map gives to {other}: {some(wrong)}. "
            "If default was restored from a backup, correct the map: "
            f'change_map([…], placement=True, alias="{alias}", uncounted_on="{other}"), from '
            f"sharding.reshard. If {alias} was restored from a backup, delete the HeldBucket and "
            f"the rows of these buckets on {alias}."
        )


class Run:
    """The steps, each of which only the latest run can take."""

    def __init__(self, number):
        self.number = number

    def row(self):
        return Resharding.objects.using(DEFAULT_DB_ALIAS).filter(number=self.number)

    def beat(self, stop):
        """Show that this run is alive. Called in a separate thread."""
        try:
            while not stop.wait(buckets.LEASE / 4):
                with suppress(DatabaseError):  # a step would fail too, and report the error
                    self.row().update(beat=F("beat") + 1)
        finally:
            connections.close_all()

    def overtake(self, aliases):
        """Take a number above those of all runs on these shards: ``default`` may be restored."""
        numbers = [self.number]
        for alias in aliases:
            with suppress(DatabaseError):  # if the shard is down, a step reports it
                numbers += Token.objects.using(alias).values_list("number", flat=True)
        if max(numbers) > self.number:
            with errors_in_one_line(DEFAULT_DB_ALIAS):
                self.row().update(number=max(numbers) + 1)
            self.number = max(numbers) + 1

    @contextmanager
    def step(self, alias):
        """Open a transaction on a database. Raise CommandError if a later run has used it.

        The number is a fencing token, stored in each database: "How to do distributed locking",
        Kleppmann, 2016. Its row is locked until the end, so the steps of two runs don't mix.
        """
        model = Resharding if alias == DEFAULT_DB_ALIAS else Token
        with errors_in_one_line(alias), transaction.atomic(using=alias):
            rows = model.objects.using(alias)
            rows.get_or_create(pk=1)
            if not rows.filter(number__lte=self.number).update(number=self.number):
                raise CommandError("A newer run of reshard has started, so this run has stopped.")
            yield

    def mark(self, numbers, target):
        with self.step(DEFAULT_DB_ALIAS):
            change_map(numbers, placement=True, uncounted_on=target)
        # Until no process can begin to use the old map, and then until the last use has ended.
        time.sleep(2 * buckets.LEASE)

    def move(self, numbers, source, target):
        """Fence, copy, verify, switch and open some buckets; return how many rows they have."""
        try:
            with self.step(source):
                # Waits for the writes of this moment, because they have locked these rows.
                HeldBucket.objects.using(source).filter(pk__in=numbers).delete()
            with self.step(target):
                rows = sum(copy(model, numbers, source, target) for model in sharded_models())
            for model in sharded_models():
                verify(model, numbers, source, target)
            with self.step(DEFAULT_DB_ALIAS):
                change_map(
                    numbers, placement=False, shards=[target], alias=target, uncounted_on=source
                )
        except BaseException:
            with suppress(CommandError):
                self.open(numbers)
            raise
        self.open(numbers)
        return rows

    def open(self, numbers):
        """Let the shards that the map names take writes for these buckets."""
        with self.step(DEFAULT_DB_ALIAS):
            found = read_map()
        for alias in sorted({found.aliases[number] for number in numbers}):
            held = [HeldBucket(number=n) for n in numbers if found.aliases[n] == alias]
            with self.step(alias):
                HeldBucket.objects.using(alias).bulk_create(held, ignore_conflicts=True)

    def settle(self):
        """Finish or undo each marked move, so that only the shard in ``alias`` has the rows."""
        with errors_in_one_line(DEFAULT_DB_ALIAS):
            found = read_map()
        if not found.moving:
            return
        for alias in sorted(set(found.moving.values())):
            with unless_down():  # writes on other shards needn't wait for it
                check_not_held(found, found.uncounted(alias), alias)
        self.open(found.moving)
        rows_expiring.send(ShardMap, shard_map=found)
        with self.step(DEFAULT_DB_ALIAS):
            change_map([], placement=True)
        time.sleep(buckets.LEASE)
        for alias in sorted(set(found.moving.values())):
            numbers = found.uncounted(alias)
            for start in range(0, len(numbers), DELETED):
                some_numbers = numbers[start : start + DELETED]
                with self.step(alias):
                    check_not_held(found, some_numbers, alias)
                    for model in reversed(sharded_models()):
                        delete(model, some_numbers, alias)
        shards = found.moving.values()
        with self.step(DEFAULT_DB_ALIAS):
            change_map(found.moving, placement=False, shards=shards, uncounted_on=None)


# The rows are copied by SQL: without signals, and without the values that some fields compute when
# they are saved. A driver can write the values that it has read, so no value is converted.


def rows_of(model, numbers, alias, lock=""):
    """Yield lists of up to BATCH rows of some buckets on a shard, in the order of their keys."""
    table, key, columns = names(model, alias)
    for first, last in ranges(numbers):
        with errors_in_one_line(alias), connections[alias].cursor() as cursor:
            cursor.execute(
                f"SELECT {', '.join(columns)} FROM {table} "
                f"WHERE {key} BETWEEN %s AND %s ORDER BY {key} {lock}",
                [keys_of(first)[0], keys_of(last)[1]],
            )
            while rows := cursor.fetchmany(BATCH):
                yield list(rows)


def copied_rows(model, numbers, alias):
    """Yield the rows of buckets that take no writes any more, as ``rows_of()`` does.

    If MariaDB has the rows on other servers, by Spider, a transaction can release the lock of its
    bucket before it has committed there. To read with a lock is to wait for this commit.
    """
    lock = "LOCK IN SHARE MODE" if connections[alias].vendor == "mysql" else ""
    return rows_of(model, numbers, alias, lock)


def copy(model, numbers, source, target):
    """Insert the rows of some buckets into another shard; return how many."""
    count = 0
    for rows in copied_rows(model, numbers, source):
        insert(model, rows, target)
        count += len(rows)
    return count


def verify(model, numbers, source, target):
    """Raise CommandError if the rows of some buckets are not the same on two shards."""
    both = rows_of(model, numbers, source), rows_of(model, numbers, target)
    for there, here in zip_longest(*both, fillvalue=[]):
        if there != here:
            first, second = next(pair for pair in zip_longest(there, here) if pair[0] != pair[1])
            raise CommandError(
                f"{model._meta.label}: a row differs from its copy. On {source}: {first}. On "
                f"{target}: {second}. The bucket stays on {source}."
            )


def delete(model, numbers, alias):
    table, key, _ = names(model, alias)
    with connections[alias].cursor() as cursor:
        for first, last in ranges(numbers):
            cursor.execute(
                f"DELETE FROM {table} WHERE {key} BETWEEN %s AND %s",
                [keys_of(first)[0], keys_of(last)[1]],
            )
