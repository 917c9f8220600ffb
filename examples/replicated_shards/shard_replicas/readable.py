"""From which position on a shard's replicas may be read, while buckets come and go.

When the map changes after rows have, its transaction notes the shard's position: from there on the
replicas have the rows that came, and no longer those that went. The router asks for a replica that
has reached it. And before rows are deleted, a replica of their new shard has to have them. Else
they would be lost with one primary, that of the new shard, while the old one was well.
"""

import time

from django.conf import settings
from django.core.management import CommandError
from django.db import DEFAULT_DB_ALIAS, connections

from replicas import health
from shard_replicas.models import ReadableFrom
from sharding.buckets import shard_map
from sharding.errors import errors_in_one_line

PATIENCE = 5  # seconds to wait for a replica to have what was copied


class NotReplicated(CommandError):
    """No replica has what was moved: the old rows are not deleted yet."""


_cache = (None, {})  # a ShardMap, and the positions that go with it


def readable_from(alias):
    """Return the position that a replica of a shard must have reached to be read, or None."""
    global _cache
    current = shard_map()
    if current.moving:
        # As in alias_of(). To be asked after that: then this is no older.
        return positions_of([alias]).get(alias)
    cached = _cache
    if cached[0] is not current:
        # Last: they may be newer than the rest of the map, but never older.
        _cache = cached = current, positions_of(settings.SHARDS)
    return cached[1].get(alias)


def positions_of(shards):
    rows = ReadableFrom.objects.using(DEFAULT_DB_ALIAS).filter(pk__in=shards)
    return dict(rows.values_list("alias", "position"))


def note_positions(sender, shards, **kwargs):
    """Receive ``placement_changing``: note a position that what the shards committed is before."""
    for alias in sorted(shards & settings.REPLICAS.keys()):
        with errors_in_one_line(alias):
            position = health.position().written(connections[alias])
        ReadableFrom.objects.using(DEFAULT_DB_ALIAS).update_or_create(
            alias=alias, defaults={"position": position}
        )


def await_replicas(sender, shard_map, **kwargs):
    """Receive ``rows_expiring``: wait until a replica of the shard that keeps them has the rows.

    Of each shard that keeps some, if it has replicas. Raises NotReplicated when none gets there.
    """
    until = time.monotonic() + PATIENCE
    keepers = {shard_map.aliases[number] for number in shard_map.moving}
    for alias, position in positions_of(keepers).items():
        others = settings.REPLICAS.get(alias, ())
        while others and not any(health.reached(other, position) for other in others):
            if time.monotonic() > until:
                raise NotReplicated(
                    f"What was moved to {alias} counts there, but no replica of {alias} has it "
                    "yet: it stays where it was, too. When one has, run reshard again."
                )
            time.sleep(0.01)
