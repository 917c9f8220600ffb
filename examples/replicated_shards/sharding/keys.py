"""Keys that tell their bucket, made in the process that needs them.

A bucket (a logical shard) is a range of keys, so the rows of a bucket lie side by side in the index
of the primary key. Which bucket a row is in never changes.

===========  =======  =================  ===========================================================
bits         width    what
===========  =======  =================  ===========================================================
43 to 52     10       the bucket         so ``get(pk=…)`` finds the shard
8 to 42      35       the tick           1/32 s since 2026: until 2060. Orders the keys of a bucket
0 to 7       8        the worker         the process that made the key
===========  =======  =================  ===========================================================

A worker gives each tick once for each bucket, and never one that it has given before. When a bucket
needs more than 32 keys in a second, the worker takes ticks from the future. When the clock steps
back, it goes on from where it was. So that its successor does too, it notes in a file, before it
gives a tick, a tick which it will not pass without another note. The file is locked while the
process lives: this is how a process comes by a number that no other process of its host has, and
the operating system gives the number back when the process dies, however it dies. Each host has
numbers of its own, in ``settings.KEY_WORKERS``.

The design is Twitter's Snowflake (2010), with Instagram's logical shard in the key (2011), and the
order of the parts turned round: they put the time first.
"""

import os
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.core.files import locks

# 1024 are enough to spread evenly over dozens of shards, and few enough that the map is read in a
# few milliseconds. The number can never change: it is in every key.
BUCKET_BITS = 10
BUCKETS = 1 << BUCKET_BITS
KEY_BITS = 53  # JavaScript's numbers, and JSON's in many a reader, are exact up to 2**53
BUCKET_SHIFT = KEY_BITS - BUCKET_BITS

WORKER_BITS = 8
TICK_BITS = BUCKET_SHIFT - WORKER_BITS
TICKS = 32  # in a second
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
AHEAD = 2 * TICKS  # how many ticks are noted at once: what a restart may skip


def is_key(key):
    """Return whether this can be a key at all: no shard has a row with any other."""
    return key is not None and 0 <= key < 1 << KEY_BITS


def bucket_of(key):
    """Return the number of the bucket that a key is in. Raises ValueError where it is no key."""
    if not is_key(key):
        raise ValueError(f"{key} is not a key: keys are from 0 to 2**{KEY_BITS} - 1.")
    return key >> BUCKET_SHIFT


def keys_of(bucket):
    """Return the first and the last key that a bucket can have."""
    return bucket << BUCKET_SHIFT, (bucket + 1 << BUCKET_SHIFT) - 1


class NoKeys(Exception):
    """This process can't make keys: no worker's number is free, or time is up."""


class Worker:
    """Makes keys. ``file`` is its own alone, open for reading and writing."""

    def __init__(self, number, file):
        self.number = number
        self._file = file
        self._noted = int(file.read() or 0)
        self._last = [self._noted] * BUCKETS
        self._lock = threading.Lock()

    def keys(self, bucket, count):
        """Return ``count`` new keys in a bucket, as a range, in ascending order."""
        with self._lock:
            now = int((time.time() - EPOCH.timestamp()) * TICKS)
            first = max(now, self._last[bucket] + 1)
            last = first + count - 1
            if last > self._noted:
                self._note(last + AHEAD)
            self._last[bucket] = last
        base = bucket << BUCKET_SHIFT | self.number
        return range(
            base | first << WORKER_BITS, (base | last << WORKER_BITS) + 1, 1 << WORKER_BITS
        )

    def _note(self, tick):
        if tick >> TICK_BITS:
            end = when((1 << BUCKET_SHIFT) - 1)
            raise NoKeys(f"No keys can be made after {end:%Y}. Check the clock of this host.")
        self._file.seek(0)
        self._file.write(b"%020d\n" % tick)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._noted = tick


def claim():
    """Return a ``Worker`` with a number that no other process has, for as long as this one lives.

    Never delete the files: they are what the next process knows of the keys that were made.
    """
    folder = Path(settings.KEY_WORKERS_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    for number in settings.KEY_WORKERS:
        if number >> WORKER_BITS:
            raise NoKeys(
                f"KEY_WORKERS has {number}. The highest number is {(1 << WORKER_BITS) - 1}."
            )
        # Neither truncated nor read before it is locked.
        file = os.fdopen(os.open(folder / str(number), os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        if locks.lock(file, locks.LOCK_EX | locks.LOCK_NB):
            return Worker(number, file)
        file.close()
    raise NoKeys(
        f"Other processes use all {len(settings.KEY_WORKERS)} numbers of KEY_WORKERS. "
        "Give this host more numbers."
    )


class _Process:
    """This process's worker, claimed when the first key is needed."""

    def __init__(self):
        self.lock = threading.Lock()
        self.worker = None


_process = _Process()


def _forked():
    # The parent keeps the number. The child's copy of the file is closed, which unlocks nothing.
    _process.__init__()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def new_keys(bucket, count):
    """Return ``count`` new keys in a bucket, as a range, in ascending order."""
    worker = _process.worker
    if worker is None:
        with _process.lock:
            worker = _process.worker = _process.worker or claim()
    return worker.keys(bucket, count)


def new_key(bucket=None):
    """Return a new key, in any one of the buckets when none is given."""
    return new_keys(random.randrange(BUCKETS) if bucket is None else bucket, 1)[0]


def when(key):
    """Return the time at which a key was made, to 1/32 s; later, for keys made in great haste."""
    tick = (key & (1 << BUCKET_SHIFT) - 1) >> WORKER_BITS
    return EPOCH + timedelta(seconds=tick / TICKS)
