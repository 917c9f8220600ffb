"""Rows on several databases, by a key that tells which, and a changing map. To be copied whole.

Its parts, in reading order. The first four are the pattern, and are read without the rest:

``keys``
    a key, whose highest bits are its bucket, and how a process makes one without asking anybody;
``buckets``
    the shard map: which shard has a bucket;
``fields``
    ``KeyField``, the primary key, and the bucket of a row;
``routers``
    ``ShardRouter``, and ``shard_of()`` for a router of one's own.

What Django's models need, to find the shard by themselves:

``fences``
    a small app: which buckets a shard takes writes for, kept on that shard;
``writing``
    ``writing()``, the transaction in which a bucket stays where it is;
``scatter``
    asks each shard;
``gather``
    combines the answers into one: ``count()``, ``aggregate()``, ``in_bulk()``, ``top()``;
``models``
    ``Sharded``, for models, and the managers that find the shard from the key in a query.

What moves buckets to another shard, while the application reads and writes:

``errors``
    what goes wrong in a command, in one line;
``schema``
    which migrations a shard lacks, and what a flush leaves there;
``signals``
    what a move tells others;
``reshard``
    the move.

And what Django calls:

``admin``
    ``ShardedAdmin``, over one shard or all;
``checks``
    what a copy forgets: ``python manage.py check`` says it, and ``check --database default`` what
    is wrong with the map;
``restored``
    holds deserialized rows to their shard;
``apps``
    registers the checks;
``management``
    the commands ``migrate_shards``, ``shard_status`` and ``reshard``, and Django's ``dumpdata`` and
    ``loaddata``, which leave no row out and put none on another shard.

Plainer: one larger database. A server with a few hundred GB of memory holds what most applications
have. Next: a schema for each tenant, where no query is over all tenants. Or an extension that
shards below Django, such as Citus for PostgreSQL: then SQL joins and adds up over all shards. None
of the three needs a line of this app.

The settings
------------

It needs Django and tqdm. The databases come first: ``default`` is the one that has all that is
global. In SQLite, add to ``settings.py``::

    SHARDS = ["shard0", "shard1"]
    DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE"}
    DATABASES |= {
        alias: DATABASES["default"] | {"NAME": BASE_DIR / f"{alias}.sqlite3"} for alias in SHARDS
    }

On servers, each entry is that of a server, or of a database of its own on one. The rest is the same
on each engine. Add to ``settings.py``::

    SHARDED_APPS = {"notes"}  # the labels of the apps on the shards; all others are in default
    INSTALLED_APPS += ["sharding", "sharding.fences"]
    DATABASE_ROUTERS = ["sharding.routers.ShardRouter"]
    # The numbers that this host's processes may take, one each, for the keys that they make.
    KEY_WORKERS = range(64)  # on a second host: range(64, 128). The highest is 255.
    KEY_WORKERS_DIR = BASE_DIR / ".workers"  # is never emptied

All models of a sharded app are Sharded, and each row belongs to one at the root. Write in
``models.py``::

    from sharding.fields import KeyField
    from sharding.models import Sharded


    class Author(Sharded):
        id = KeyField()
        name = models.CharField(max_length=100)


    class Note(Sharded):
        id = KeyField(of="author")
        author = models.ForeignKey(Author, models.CASCADE, related_name="notes")
        text = models.TextField()

Then run ``migrate``, which makes the map, and ``migrate_shards``. A new shard is an entry in
DATABASES and in SHARDS, ``migrate_shards``, and ``reshard``.
"""
