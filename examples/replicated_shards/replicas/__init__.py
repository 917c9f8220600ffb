"""Read replicas with read-your-writes: each user sees their own writes at the next read.

Copy the whole folder. These are its modules, in the order in which to read them:

``routers``
    which database a model is read from, and which database it is written to;
``reading``
    which replica a request or a task reads from, and when it reads from the primary instead
    (``scope()``, ``use_primary()``, ``allow_stale()``); which statements count as writes
    (``note_write()``, ``unnoted()``);
``positions``
    the position of a database in the primary's log: a class for each engine;
``consistency``
    the middleware. It opens a scope for each request. After a write it sends the position to the
    client, in a cookie and in a header;
``health``
    which replicas may be read from;
``failover``
    if a query fails because its replica fails, the primary answers it;
``checks``
    system checks for the settings of this app: ``python manage.py check``. With
    ``check --database default`` they also ask the servers.

The simplest solution is to use no replica. One server answers many thousand queries a second, and
an index or a cache is less work than this app. The next simplest solution is a replica for a few
slow views that may show old data: use ``.using("replica1")`` in their queries. Neither needs this
app.

The settings
------------

The databases come first. On SQLite use the app ``replication``, which is for learning. Add to
``settings.py``::

    DATABASES["replica1"] = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"{(BASE_DIR / 'replica1.sqlite3').as_uri()}?mode=ro",
        "TEST": {"MIRROR": "default"},
    }
    INSTALLED_APPS += ["replication"]
    REPLICA_POSITION = "replicas.positions.LogPosition"

On PostgreSQL the server replicates. The entry of a replica is a copy of the entry of ``default``,
with the ``HOST`` or ``PORT`` of a standby, and with the line ``"TEST"``. Neither entry has
``ATOMIC_REQUESTS``. Do not install ``replication``. Set ``REPLICA_POSITION`` to
``"replicas.positions.PostgresPosition"``. The user of a replica needs the role
``pg_read_all_stats``, and ``check --database replica1`` warns if the role is missing. On MariaDB,
the replicas must use GTID, the class is ``"replicas.positions.MariaDBPosition"``, and the user must
not be root.

The rest is the same on each engine. The middleware must come before the session middleware, because
saving a session is a write. Add to ``settings.py``::

    INSTALLED_APPS += ["replicas"]
    MIDDLEWARE = ["replicas.consistency.ReadYourWritesMiddleware", *MIDDLEWARE]
    DATABASE_ROUTERS = ["replicas.routers.ReplicaRouter"]
    REPLICAS = {"default": ["replica1"]}  # for each primary, the aliases of its replicas
    REPLICA_MAX_LAG = 60  # seconds: a replica that is further behind is not read from
    REPLICA_RETRY = 10  # seconds, after which a replica that was skipped is tried again

These settings have a default:

``REPLICA_PRIMARY_APPS``
    apps and models that are always read from the primary. The default is
    ``["auth", AUTH_USER_MODEL]``;
``REPLICA_UNNOTED_APPS``
    apps and models that are always read from the primary, and whose writes do not count as writes
    of the user. List only tables that no query joins. The default is ``["sessions"]``;
``REPLICA_COOKIE_DOMAIN``, ``_PATH``, ``_SAMESITE``, ``_SECURE``
    attributes of the cookie. The defaults are the settings ``SESSION_COOKIE_…``.

If ``REPLICAS`` is empty, everything is read from the primary. This is useful in tests. A second
primary needs a second entry, and a router that returns ``reading.database("its alias")``, except
for a model for which ``reading.is_primary_only(model)`` is true.
"""
