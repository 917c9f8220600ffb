"""The shard map: which shard has a bucket. It is a table in ``default``.

This module reads the map. ``reshard`` moves buckets, and changes the map.
"""

import time
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import or_

from django.apps import apps
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, models, router
from django.db.models import Q

from sharding.keys import BUCKETS, keys_of

# The seconds for which a process may use a map that it has read. A move first marks the bucket in
# the map, and then waits this long, so that no process uses an older map. (The idea is from
# "Online, Asynchronous Schema Change in F1", Rae et al., VLDB 2013.)
LEASE = 1.0


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


def shards():
    """Return the aliases of the shards. If ``SHARDS`` is empty, return that of the one database.

    The routers name this database, by the first model of ``SHARDED_APPS``.
    """
    if settings.SHARDS:
        return settings.SHARDS
    first = next(m for m in apps.get_models() if m._meta.app_label in settings.SHARDED_APPS)
    return [router.db_for_write(first)]


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
    # While the bucket moves: the other shard that may have rows of this bucket. They don't count.
    uncounted_on = models.CharField(max_length=63, null=True, blank=True)  # noqa: DJ001

    class Meta:
        app_label = "sharding"

    def __str__(self):
        return f"bucket {self.number} on {self.alias}"


class MapVersion(models.Model):
    """How often the map has changed, in one row.

    ``version`` counts every change. ``placement`` counts only the changes after which rows of some
    bucket may be on other shards than before, whether they count there or not.
    """

    version = models.BigIntegerField(default=1)
    placement = models.BigIntegerField(default=1)

    class Meta:
        app_label = "sharding"

    def __str__(self):
        return f"version {self.version}"


@dataclass(frozen=True)
class ShardMap:
    """The map as it was at one version."""

    version: int
    placement: int
    aliases: tuple  # by the bucket's number
    moving: dict  # by the number of each bucket that is moving: the alias in ``uncounted_on``

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
        """Return the numbers of the buckets of which a shard may have uncounted rows."""
        return [number for number, other in self.moving.items() if other == alias]


class MapIncomplete(Exception):
    """The shard map has no entry for some bucket."""


def read_map():
    """Return the shard map as it is now. If ``SHARDS`` is empty, no query is sent."""
    # In this order: if the map changes between the two queries, the version is the older one, and
    # the map is read again sooner.
    version = map_version()
    if not settings.SHARDS:
        return ShardMap(version.version, version.placement, tuple(shards()) * BUCKETS, {})
    rows = list(
        Bucket.objects.using(DEFAULT_DB_ALIAS)
        .order_by("number")
        .values_list("number", "alias", "uncounted_on")
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
        {number: other for number, _, other in rows if other is not None},
    )


_cache = None  # (until when, ShardMap)


def forget_map():
    """Let the next call of ``shard_map()`` read the map again."""
    global _cache
    _cache = None


def shard_map():
    """Return a shard map that was the current one at most ``LEASE`` seconds ago."""
    return leased_map()[1]


def leased_map():
    """Return ``(until, shard map)``: the map may be used until this time.monotonic()."""
    global _cache
    cached = _cache
    now = time.monotonic()
    if cached is None or now >= cached[0]:
        # Two threads may both read the map here, which does no harm. The lease begins before the
        # query is sent, not when it is answered.
        if cached is None or cached[1].version != map_version().version:
            cached = None, read_map()
        _cache = cached = now + LEASE, cached[1]
    return cached


def map_version():
    """Return the ``MapVersion`` as it is now. If ``SHARDS`` is empty, it never changes."""
    if not settings.SHARDS:
        return MapVersion(version=0, placement=0)
    return MapVersion.objects.using(DEFAULT_DB_ALIAS).get()


def alias_of(bucket):
    """Return the alias of the shard that has a bucket."""
    current = shard_map()
    if bucket in current.moving:
        # It is moving: query the map, so that all processes see the switch at the same moment.
        return Bucket.objects.using(DEFAULT_DB_ALIAS).get(pk=bucket).alias
    return current.aliases[bucket]


def as_mapped(read):
    """Return ``read()``, which finds a shard in the map. Call it again if the map has changed.

    Rows are deleted from a shard ``LEASE`` seconds after the map has changed. A query that is sent
    later than that, because a connection was slow to open, say, may not find them.
    """
    while True:
        placement, until = shard_map().placement, time.monotonic() + LEASE
        found = read()
        if time.monotonic() < until or map_version().placement == placement:
            return found
        forget_map()


def by_alias(items, bucket):
    """Return a dict of lists of the items, by the alias of the shard of ``bucket(item)``."""
    aliases, groups = {}, defaultdict(list)
    for item in items:
        number = bucket(item)
        if number not in aliases:
            aliases[number] = alias_of(number)
        groups[aliases[number]].append(item)
    return dict(groups)


def first_map():
    """Yield ``(bucket, alias)``: each of ``settings.SHARDS`` gets an equal run of buckets."""
    for number in range(BUCKETS):
        yield number, settings.SHARDS[number * len(settings.SHARDS) // BUCKETS]
