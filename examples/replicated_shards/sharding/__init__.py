"""Rows on several databases: a row's key and a shard map say which. Copy the whole folder.

The modules, in reading order. The first four are the pattern, and can be read without the rest:

``keys``
    a key, whose highest bits are its bucket, and how a process makes keys without a query;
``buckets``
    the shard map: which shard has a bucket;
``fields``
    ``KeyField``, the primary key, and the bucket of a row;
``routers``
    ``ShardRouter``, and ``shard_of()`` for a router of your own.

These let Django's models and querysets find the shard:

``fences``
    a small app: which buckets a shard takes writes for, kept on that shard;
``writing``
    ``writing()``, a transaction during which a bucket can't move;
``scatter``
    queries each shard;
``gather``
    combines the answers into one: ``count()``, ``aggregate()``, ``in_bulk()``, ``top()``;
``models``
    ``Sharded``, for models, and the managers that find the shard from the key in a query.

These move buckets to another shard while the application reads and writes:

``errors``
    the errors of a command, each in one line;
``schema``
    which migrations a shard lacks, and which rows are made again after a flush;
``bulk``
    inserts many rows at once;
``signals``
    the signals of a move, for other apps;
``reshard``
    the move.

This is a small app of its own, which is needed only for reference tables:

``reference``
    ``Reference``, for models whose table is in ``default``, with a copy on each shard for joins.

These are called by Django:

``admin``
    ``ShardedAdmin``, for one shard or all;
``checks``
    system checks: ``python manage.py check`` finds wrong settings and models, and
    ``check --database default`` finds errors in the map;
``restored``
    lets a deserialized row be saved only on its shard;
``apps``
    registers the checks;
``management``
    the commands ``migrate_shards``, ``shard_status`` and ``reshard``. Also ``dumpdata`` and
    ``loaddata``, which omit no row and load none on a wrong shard, and ``flush``, which flushes
    nothing if the map could not be made again.

Simpler alternatives: one larger database, since a server with a few hundred GB of memory is enough
for most applications. Or a schema for each tenant, if no query is over all tenants. Or an extension
that shards below Django, such as Citus for PostgreSQL: then SQL can join and aggregate over all
shards. These three need no code of this app.

The settings
------------

The app needs Django and tqdm. First, the databases. ``default`` has all tables that are not
sharded. On SQLite, add to ``settings.py``::

    SHARDS = ["shard0", "shard1"]
    DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE"}
    DATABASES |= {
        alias: DATABASES["default"] | {"NAME": BASE_DIR / f"{alias}.sqlite3"} for alias in SHARDS
    }

With servers, each entry names a server, or a separate database on a server. The rest is the same on
each engine. Add to ``settings.py``::

    SHARDED_APPS = {"notes"}  # the labels of the apps on the shards; all others are in default
    INSTALLED_APPS += ["sharding", "sharding.fences"]
    DATABASE_ROUTERS = ["sharding.routers.ShardRouter"]
    # Worker numbers. Each process of this host that makes keys takes one.
    KEY_WORKERS = range(64)  # on a second host: range(64, 128). The highest is 255.
    KEY_WORKERS_DIR = BASE_DIR / ".workers"  # never delete its files

All models of a sharded app inherit from Sharded. A model is a root, or belongs to a root through
foreign keys. Write in ``models.py``::

    from sharding.fields import KeyField
    from sharding.models import Sharded


    class Author(Sharded):
        id = KeyField()
        name = models.CharField(max_length=100)


    class Note(Sharded):
        id = KeyField(of="author")
        author = models.ForeignKey(Author, models.CASCADE, related_name="notes")
        text = models.TextField()

Then run ``migrate``, which makes the map, and ``migrate_shards``. To add a shard, add an entry to
DATABASES and to SHARDS, run ``migrate_shards``, and then ``reshard``.

With ``SHARDS = []``, nothing is sharded: all rows are in ``default``, or where an earlier router
puts them, and the managers are Django's own. The keys contain a bucket as before, so the rows can
go to shards later.
"""
