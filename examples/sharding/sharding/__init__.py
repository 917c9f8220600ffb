"""Rows on several databases, by a key that tells which one, and a map that can change.

Its parts, in reading order. The first four are the pattern, and are read without the rest:

``keys``
    a key, whose highest bits are its bucket, and how a process makes one without asking anybody;
``buckets``
    the shard map: which shard has a bucket;
``fields``
    ``KeyField``, the primary key, and the bucket of a row;
``routers``
    ``ShardRouter``, and ``shard_of()`` for a router of one's own;

``fences``
    a small app: which buckets a shard takes writes for, kept on that shard;
``writing``
    ``writing()``, the transaction in which a bucket stays where it is;
``scatter``
    asks each shard;
``gather``
    combines the answers into one: ``count()``, ``aggregate()``, ``in_bulk()``, ``top()``;
``models``
    ``Sharded``, for models, and the managers that find the shard from a key in a query;

``errors``
    what goes wrong in a command, in one line;
``schema``
    which migrations a shard lacks;
``signals``
    what a move tells others;
``reshard``
    moves buckets to another shard while all else goes on;

``admin``
    Django's admin, over all shards;
``checks``
    what a copy forgets: ``python manage.py check`` says it;
``apps``
    registers the checks;
``management``
    the commands ``migrate_shards``, ``shard_status`` and ``reshard``.
"""
