"""The position from which on a shard's replicas may be read, while buckets move.

When rows were copied or deleted, the map changes. The transaction of this change also notes the
position of the shard. A replica that has reached this position has the copied rows, and no longer
has the deleted rows. The router reads only from such a replica.

Before the old rows are deleted, a replica of the new shard must have the rows. Otherwise they would
be lost if the new shard's primary is lost, although the old shard is intact.
"""

import time

from django.conf import settings
from django.core.management import CommandError
from django.db import DEFAULT_DB_ALIAS, connections

from replicas import health
from shard_replicas.models import ReadableFrom
from sharding.buckets import shard_map
from sharding.errors import errors_in_one_line

PATIENCE = 5  # seconds to wait until a replica has the rows that were copied


class NotReplicated(CommandError):
    """No replica has the rows that were moved, so the old rows are not deleted yet."""


_cache = (None, {})  # a ShardMap, and the positions that were read with it


def readable_from(alias):
    """Return the position that a replica of a shard must have reached, or None for any."""
    global _cache
    current = shard_map()
    if current.moving:
        # Some bucket is moving, so query default. The router has called alias_of(), which does the
        # same. So the position is not older than the alias that alias_of() returned.
        return positions_of([alias]).get(alias)
    cached = _cache
    if cached[0] is not current:
        # The positions are read after the map, so they are never older than the map.
        _cache = cached = current, positions_of(settings.SHARDS)
    return cached[1].get(alias)


def positions_of(shards):
    rows = ReadableFrom.objects.using(DEFAULT_DB_ALIAS).filter(pk__in=shards)
    return dict(rows.values_list("alias", "position"))


def note_positions(sender, shards, **kwargs):
    """Receive ``placement_changing``: for each shard, store a position after the last commit."""
    for alias in sorted(shards & settings.REPLICAS.keys()):
        with errors_in_one_line(alias):
            position = health.position().written(connections[alias])
        ReadableFrom.objects.using(DEFAULT_DB_ALIAS).update_or_create(
            alias=alias, defaults={"position": position}
        )


def await_replicas(sender, shard_map, **kwargs):
    """Receive ``rows_expiring``: wait until a replica of the new shard has the rows.

    This waits for each shard that rows were moved to, if the shard has replicas. Raises
    NotReplicated if no replica has the rows after ``PATIENCE`` seconds.
    """
    until = time.monotonic() + PATIENCE
    keepers = {shard_map.aliases[number] for number in shard_map.moving}
    for alias, position in positions_of(keepers).items():
        others = settings.REPLICAS.get(alias, ())
        while others and not any(health.reached(other, position) for other in others):
            if time.monotonic() > until:
                raise NotReplicated(
                    f"The moved rows count on {alias}, but no replica of {alias} has them yet. So "
                    "the old rows are kept. Run reshard again when a replica has the moved rows."
                )
            time.sleep(0.01)
