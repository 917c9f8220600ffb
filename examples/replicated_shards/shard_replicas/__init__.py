"""Replicas of shards: the code that is needed only where ``sharding`` and ``replicas`` meet.

A replica lags behind its shard. So it may lack rows of a bucket that has moved to the shard, though
the shard map already counts these rows there. Or it may still have rows of a bucket that has left
the shard. Copy the whole folder. These are its modules, in the order in which to read them:

``models``
    for each shard, the position from which on its replicas agree with the shard map;
``readable``
    notes this position, and returns it to the router: ``readable_from()``. It also keeps the old
    rows of a bucket until a replica of the new shard has the rows too;
``promotion``
    corrects the map when a replica replaces the primary of a shard;
``checks``
    a system check: Django runs this app's command ``promote``, not another app's;
``management``
    the command ``promote``, which runs that of the app ``replication`` within ``promotion``; and
    ``mend_map``, for use after a server has promoted a standby of a shard by itself.

The two signals of ``sharding`` connect this app to a move. Add the app to ``settings.py``, before
``replication``, because it replaces the command ``promote``::

    INSTALLED_APPS = ["shard_replicas", *INSTALLED_APPS]

The router returns ``reading.database(shard, since=readable_from(shard))``. ``shop/routers.py`` of
this example is such a router.

Simpler: read from no replica of a shard. If the replicas exist only to replace a lost primary, then
only ``promotion`` is needed.
"""
