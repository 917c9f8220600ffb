"""What a move of buckets tells others. Each signal's sender is the class ``ShardMap``.

``placement_changing``
    is sent inside the transaction that changes the map, so what a receiver writes to ``default`` is
    committed with the change, or not at all. It gets ``numbers``, those of the buckets whose entry
    changes; ``fields``, what the entry becomes, as a dict; and ``shards``, a set of the aliases of
    the shards whose rows have changed since the map last did. For an audit log, say: who moved
    what, and when.

``rows_expiring``
    is sent before the rows that don't count are deleted. It gets ``shard_map``: on the shard
    ``shard_map.moving[number]`` the rows of the bucket ``number`` are to be deleted, and those that
    count are on ``shard_map.aliases[number]``. A receiver that raises CommandError keeps them:
    nothing is deleted then, and the next run of ``reshard`` asks again. For a backup, say.
"""

from django.dispatch import Signal

placement_changing = Signal()
rows_expiring = Signal()
