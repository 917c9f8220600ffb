"""Logical shards: which bucket a key is in, and which shard has that bucket.

A key's highest bits are its bucket, so a bucket is a range of keys, and the rows of a bucket lie
side by side in the index of the primary key. Which bucket a row is in never changes. Which shard
has the bucket is in the shard map, a table in ``default``: the one place that knows.
"""

import time
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import or_

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, models, transaction
from django.db.models import F, Q

# 1024 are enough to spread evenly over dozens of shards, and few enough that the map is read in a
# few milliseconds. The number can never change: it is in every key.
BUCKET_BITS = 10
BUCKETS = 1 << BUCKET_BITS
KEY_BITS = 53  # JavaScript's numbers, and JSON's in many a reader, are exact up to 2**53
BUCKET_SHIFT = KEY_BITS - BUCKET_BITS

# For how many seconds a process may go by a map that it has read. Whoever moves a bucket marks it
# in the map, and waits this long: then nobody goes by an older map. (The idea is from "Online,
# Asynchronous Schema Change in F1", Rae et al., VLDB 2013.)
LEASE = 1.0


def is_key(key):
    """Return whether this can be a key at all: no shard has a row with any other."""
    return key is not None and 0 <= key < 1 << KEY_BITS


def bucket_of(key):
    """Return the number of the bucket that a key is in. Raises ValueError where it is no key."""
    if not is_key(key):
        raise ValueError(f"{key} is not a key: no shard has such rows.")
    return key >> BUCKET_SHIFT


def keys_of(bucket):
    """Return the first and the last key that a bucket can have."""
    return bucket << BUCKET_SHIFT, (bucket + 1 << BUCKET_SHIFT) - 1


def ranges(buckets):
    """Yield ``(first, last)`` for each run of consecutive numbers."""
    first = last = None
    for bucket in sorted(buckets):
        if first is None:
            first = bucket
        elif bucket != last + 1:
            yield first, last
            first = bucket
        last = bucket
    if first is not None:
        yield first, last


def in_buckets(numbers, field="pk"):
    """Return a ``Q`` for the rows whose ``field``, a key, is in one of the buckets."""
    return reduce(
        or_,
        (
            Q(**{f"{field}__range": (keys_of(first)[0], keys_of(last)[1])})
            for first, last in ranges(numbers)
        ),
        Q(pk__in=[]),
    )


class Bucket(models.Model):
    """An entry of the shard map: ``alias`` has the bucket ``number``."""

    number = models.PositiveSmallIntegerField(primary_key=True)
    alias = models.CharField(max_length=63)
    # While a bucket moves: the other shard that may have rows of it. They don't count.
    copy = models.CharField(max_length=63, null=True, blank=True)  # noqa: DJ001

    class Meta:
        app_label = "sharding"

    def __str__(self):
        return f"bucket {self.number} on {self.alias}"


class MapVersion(models.Model):
    """The one row that says how often the map has changed.

    ``placement`` changes only when some bucket's rows come to be on other shards than before, be
    they counted there or not; ``version`` on every change.
    """

    version = models.BigIntegerField(default=1)
    placement = models.BigIntegerField(default=1)

    class Meta:
        app_label = "sharding"

    def __str__(self):
        return f"version {self.version}"


class ReadableFrom(models.Model):
    """From which position on the replicas of the shard ``alias`` agree with the map.

    The rows of a bucket that has come are at or before it, and so is the deletion of one that has
    gone. It changes in the transaction that changes the map; no row: from the beginning.
    """

    alias = models.CharField(max_length=63, primary_key=True)
    position = models.CharField(max_length=63)

    class Meta:
        app_label = "sharding"

    def __str__(self):
        return f"replicas of {self.alias} from {self.position}"


@dataclass(frozen=True)
class ShardMap:
    """The map as it was at one version."""

    version: int
    placement: int
    aliases: tuple  # by the bucket's number
    copies: dict  # by the number of a bucket that is moving
    positions: dict  # by the alias of a shard: see ReadableFrom

    @cached_property
    def _buckets(self):
        found = {}
        for number, alias in enumerate(self.aliases):
            found.setdefault(alias, []).append(number)
        return found

    def buckets(self, alias):
        """Return the numbers of the buckets that a shard has."""
        return self._buckets.get(alias, [])

    def uncounted(self, alias):
        """Return the numbers of the buckets of which a shard may have rows that don't count."""
        return [number for number, copy in self.copies.items() if copy == alias]


class MapIncomplete(Exception):
    """The shard map has no entry for some bucket."""


def read_map():
    """Return the shard map as it is now."""
    # In this order: should the map change in between, this is the older version's number, and the
    # map is read again all the sooner.
    version = map_version()
    rows = list(
        Bucket.objects.using(DEFAULT_DB_ALIAS)
        .order_by("number")
        .values_list("number", "alias", "copy")
    )
    if [number for number, _, _ in rows] != list(range(BUCKETS)):
        raise MapIncomplete(
            f"The shard map has {len(rows)} of {BUCKETS} buckets. Run: python manage.py check "
            "--database default"
        )
    return ShardMap(
        version.version,
        version.placement,
        tuple(alias for _, alias, _ in rows),
        {number: copy for number, _, copy in rows if copy is not None},
        # Last: they may be newer than the rest, but never older.
        dict(ReadableFrom.objects.using(DEFAULT_DB_ALIAS).values_list("alias", "position")),
    )


_cache = None  # (until when, ShardMap)


def forget_map():
    """Read the map anew when it is next asked for."""
    global _cache
    _cache = None


def shard_map():
    """Return a shard map that was the current one at most ``LEASE`` seconds ago."""
    return leased_map()[1]


def leased_map():
    """Return ``(until, shard map)``: the time.monotonic() until which one may go by the map."""
    global _cache
    cached = _cache
    now = time.monotonic()
    if cached is None or now >= cached[0]:
        # Two threads may both come here, and both read: no harm. The lease counts from before the
        # query is sent, not from when it is answered.
        if cached is None or cached[1].version != map_version().version:
            cached = None, read_map()
        _cache = cached = now + LEASE, cached[1]
    return cached


def map_version():
    """Return the ``MapVersion`` as it is now."""
    return MapVersion.objects.using(DEFAULT_DB_ALIAS).get()


def alias_of(bucket):
    """Return the alias of the shard that has a bucket."""
    current = shard_map()
    if bucket in current.copies:
        # It is moving: ask, so that the moment at which it has moved is the same for everybody.
        return Bucket.objects.using(DEFAULT_DB_ALIAS).get(pk=bucket).alias
    return current.aliases[bucket]


def readable_from(alias):
    """Return the position that a replica of a shard must have reached to be read, or None."""
    current = shard_map()
    if current.copies:
        # As in alias_of(). To be asked after that: then this is no older.
        rows = ReadableFrom.objects.using(DEFAULT_DB_ALIAS).filter(pk=alias)
        return rows.values_list("position", flat=True).first()
    return current.positions.get(alias)


def change_map(numbers, *, placement, positions=(), **fields):
    """Set fields of the entries of some buckets, and count the change, in one transaction.

    ``placement`` tells whether a gather that is under way has to be done again; ``positions`` is a
    dict of those from which on replicas may be read.
    """
    with transaction.atomic(using=DEFAULT_DB_ALIAS):
        # First, so that it locks out who else would change the map.
        MapVersion.objects.using(DEFAULT_DB_ALIAS).update(
            version=F("version") + 1, placement=F("placement") + int(placement)
        )
        Bucket.objects.using(DEFAULT_DB_ALIAS).filter(number__in=numbers).update(**fields)
        for alias, position in dict(positions).items():
            ReadableFrom.objects.using(DEFAULT_DB_ALIAS).update_or_create(
                alias=alias, defaults={"position": position}
            )
        transaction.on_commit(forget_map, using=DEFAULT_DB_ALIAS)


def first_map():
    """Yield ``(bucket, alias)``: to each of ``settings.SHARDS`` an equal run of buckets."""
    for number in range(BUCKETS):
        yield number, settings.SHARDS[number * len(settings.SHARDS) // BUCKETS]


class Resharding(models.Model):
    """The one row that says whether buckets are being moved, and keeps two runs from doing so.

    ``number`` counts the runs, and ``beat`` goes up as long as the latest is alive.
    """

    number = models.BigIntegerField(default=0)
    beat = models.BigIntegerField(default=0)
    running = models.BooleanField(default=False)

    class Meta:
        app_label = "sharding"

    def __str__(self):
        return f"run {self.number}"
