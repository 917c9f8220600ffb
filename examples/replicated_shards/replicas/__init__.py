"""Read replicas, so that whoever has written sees it at the next read. To be copied whole.

Its parts, in reading order:

``routers``
    which database a model is read from and written to;
``reading``
    the replica that a request or a task keeps to, and when it reads from the primary instead:
    ``scope()``, ``use_primary()``, ``allow_stale()``; and what counts as a write, or does not:
    ``note_write()``, ``unnoted()``;
``positions``
    how far a database has come: a class for each engine;
``consistency``
    the middleware, which opens a scope for each request, and notes in a cookie, and in a header,
    who has written;
``health``
    which replicas are fit to be read from;
``failover``
    a replica that dies under a query: its primary answers;
``checks``
    what a copy forgets: ``python manage.py check`` says it, and ``check --database default`` what
    only the servers know.

Plainer: no replica. One server answers many thousand queries a second, and an index or a cache is
less work than this. Next: a replica for a few heavy views that may be stale, which say so by
``.using("replica1")`` in their queries. Neither needs a line of this app.

The settings
------------

The databases come first. In SQLite, with the app ``replication``, which is for learning, add to
``settings.py``::

    DATABASES["replica1"] = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"{(BASE_DIR / 'replica1.sqlite3').as_uri()}?mode=ro",
        "TEST": {"MIRROR": "default"},
    }
    INSTALLED_APPS += ["replication"]
    REPLICA_POSITION = "replicas.positions.LogPosition"

On PostgreSQL the server replicates. There the entry of a replica is that of ``default``, with the
``HOST`` or ``PORT`` of a standby and with the line ``"TEST"``. Neither entry has
``ATOMIC_REQUESTS``. ``replication`` is not installed, and ``REPLICA_POSITION`` is
``"replicas.positions.PostgresPosition"``. The user of a replica needs the role
``pg_read_all_stats``: ``check --database replica1`` says so. On MariaDB, with replicas that follow
by GTID, the class is ``"replicas.positions.MariaDBPosition"``, and the user is not root.

The rest is the same on each engine. The middleware has to stand before that of the sessions: what
they save is a write. Add to ``settings.py``::

    INSTALLED_APPS += ["replicas"]
    MIDDLEWARE = ["replicas.consistency.ReadYourWritesMiddleware", *MIDDLEWARE]
    DATABASE_ROUTERS = ["replicas.routers.ReplicaRouter"]
    REPLICAS = {"default": ["replica1"]}  # the aliases of replicas, by that of their primary
    REPLICA_MAX_LAG = 60  # seconds: a replica that is further behind is not read from
    REPLICA_RETRY = 10  # seconds, after which a replica that was skipped is tried again

These have a default, and need no line:

``REPLICA_PRIMARY_APPS``
    apps and models that are always read from the primary: ``["auth", AUTH_USER_MODEL]``;
``REPLICA_UNNOTED_APPS``
    the same, and who writes to them is no writer: ``["sessions"]``. Tables that no query joins;
``REPLICA_COOKIE_DOMAIN``, ``_PATH``, ``_SAMESITE``, ``_SECURE``
    those of ``SESSION_COOKIE_…``.

An empty ``REPLICAS`` lets everything read from the primary, in a suite of tests say. A second
primary needs a second entry, and a router that asks ``reading.database("its alias")``, but not for
a model for which ``reading.is_primary_only(model)`` is true.
"""
