"""Signals that a move of buckets sends. The sender is the class ``ShardMap``.

``placement_changing``
    is sent inside the transaction that changes the map. So a receiver's writes to ``default`` are
    committed with the change, or not at all. The arguments: ``numbers``, the buckets whose entries
    change; ``fields``, a dict of the new values; and ``shards``, a set of the aliases of the shards
    whose rows have changed since the map last changed. Use it for an audit log, for example.

``rows_expiring``
    is sent before the uncounted rows are deleted. The argument is ``shard_map``: for the bucket
    ``number``, the rows on the shard ``shard_map.moving[number]`` will be deleted, and the rows
    that count are on ``shard_map.aliases[number]``. If a receiver raises CommandError, nothing is
    deleted, and the next run of ``reshard`` sends the signal again. Use it to make a backup first.
"""

from django.dispatch import Signal

placement_changing = Signal()
rows_expiring = Signal()
