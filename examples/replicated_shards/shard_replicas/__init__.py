"""Replicas of shards: what neither ``sharding`` nor ``replicas`` knows of the other.

A replica lags behind its shard. So it may lack rows of a bucket that has come, which the shard map
counts already, or still have rows of one that has gone. Its parts, in reading order:

``models``
    the position, for each shard, from which on its replicas agree with the shard map;
``readable``
    who writes that position, and who asks for it: ``readable_from()``, for the router. And the old
    rows of a bucket are kept until a replica of its new shard has them too;
``promotion``
    makes the map and a shard agree again, when a replica takes the shard's place;
``checks``
    that the command below is the one that is run;
``management``
    the command ``promote``: that of the app ``replication``, within ``promotion``; and
    ``mend_map``, after a server has promoted a standby of a shard by itself.

It takes part in a move by the two signals of ``sharding``. Add to ``settings.py``, before
``replication``, whose command ``promote`` it replaces::

    INSTALLED_APPS = ["shard_replicas", *INSTALLED_APPS]

The router asks ``reading.database(shard, since=readable_from(shard))``, as ``shop/routers.py`` of
this example does.

Plainer: no replica of a shard is read from. Replicas that only wait to take a shard's place need
``promotion``, and nothing else of this.
"""
