"""Keys that contain their bucket. Each process makes its own keys.

A bucket (a logical shard) is a range of keys, so the rows of a bucket are adjacent in the index of
the primary key. The bucket of a row never changes.

===========  =======  =================  ===========================================================
bits         width    content
===========  =======  =================  ===========================================================
43 to 52     10       the bucket         so ``get(pk=…)`` finds the shard
8 to 42      35       the tick           1/32 s since 2026: until 2060. Orders the keys of a bucket
0 to 7       8        the worker         the process that made the key
===========  =======  =================  ===========================================================

A worker uses each tick at most once for each bucket. When a bucket needs more than 32 keys in a
second, the worker uses ticks of the future. When the clock steps back, the worker continues from
its last tick.

The next worker with the same number must continue there too. So each number has a file. Before a
worker uses a tick, it writes a higher tick to the file, and writes again before it goes beyond that
tick. The file is locked while the process lives, so no other process of the host has the same
number. When the process ends, in whatever way, the operating system releases the lock. Each host
has its own numbers, in ``settings.KEY_WORKERS``.

The design is that of Twitter's Snowflake (2010), with Instagram's logical shard in the key (2011).
Both put the time first; here the bucket is first.
"""

import os
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.core.files import locks

# 1024 buckets spread evenly over dozens of shards, and a map of them is read in a few milliseconds.
# This number can never change, because it is part of every key.
BUCKET_BITS = 10
BUCKETS = 1 << BUCKET_BITS
KEY_BITS = 53  # JavaScript's numbers, and JSON's in many parsers, are exact up to 2**53
BUCKET_SHIFT = KEY_BITS - BUCKET_BITS

WORKER_BITS = 8
TICK_BITS = BUCKET_SHIFT - WORKER_BITS
TICKS = 32  # in a second
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
AHEAD = 2 * TICKS  # ticks that are noted in advance; a restart may skip so many


def is_key(key):
    """Return whether a number can be a key. No shard has a row with another number."""
    return key is not None and 0 <= key < 1 << KEY_BITS


def bucket_of(key):
    """Return the number of the bucket that a key is in. Raises ValueError if it is not a key."""
    if not is_key(key):
        raise ValueError(f"{key} is not a key: keys are from 0 to 2**{KEY_BITS} - 1.")
    return key >> BUCKET_SHIFT


def keys_of(bucket):
    """Return the first and the last key that a bucket can have."""
    return bucket << BUCKET_SHIFT, (bucket + 1 << BUCKET_SHIFT) - 1


class NoKeys(Exception):
    """This process can't make keys: no worker number is free, or the last tick is reached."""


class Worker:
    """Makes keys. No other worker has ``file``, which is open for reading and writing."""

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
    """Return a ``Worker`` with a number that no other process has while this process lives.

    Never delete the files: from them the next process knows which keys were made.
    """
    folder = Path(settings.KEY_WORKERS_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    for number in settings.KEY_WORKERS:
        if number >> WORKER_BITS:
            raise NoKeys(
                f"KEY_WORKERS has {number}. The highest number is {(1 << WORKER_BITS) - 1}."
            )
        # The file is neither truncated nor read before it is locked.
        file = os.fdopen(os.open(folder / str(number), os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        if locks.lock(file, locks.LOCK_EX | locks.LOCK_NB):
            return Worker(number, file)
        file.close()
    raise NoKeys(
        f"Other processes use all {len(settings.KEY_WORKERS)} numbers of KEY_WORKERS. "
        "Give this host more numbers."
    )


class _Process:
    """The worker of this process, claimed when the first key is needed."""

    def __init__(self):
        self.lock = threading.Lock()
        self.worker = None


_process = _Process()


def _forked():
    # The parent keeps the number. The child's copy of the file is closed, and the lock remains.
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
    """Return a new key, in a random bucket if none is given."""
    return new_keys(random.randrange(BUCKETS) if bucket is None else bucket, 1)[0]


def when(key):
    """Return when a key was made, to 1/32 s. It is later for keys with ticks of the future."""
    tick = (key & (1 << BUCKET_SHIFT) - 1) >> WORKER_BITS
    return EPOCH + timedelta(seconds=tick / TICKS)
