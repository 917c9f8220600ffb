"""A change tried out over a snapshot of production, which stays as it is. To be copied whole.

Its parts, in reading order. First tables that are local as a whole (shadowed), which need no more:

``routers``
    which database a model is read from and written to, and the error ``NotLocal``;
``management/commands/snapshot``
    the snapshot: of one moment, and without what is personal;
``management/commands/shadow``
    the snapshot's rows, copied into a shadowed table;
``attached``
    the database engine: Django's for SQLite, with the snapshot attached, and read-only;
``checks``
    what a copy forgets: ``python manage.py check`` says it, and ``check --database default`` what
    only the databases know.

Then a few rows over the snapshot's (overlaid), such that Django sees one table. Without them,
``OVERLAID`` is empty, and these can be deleted:

``tables``
    the SQL: for each overlaid model a table in the local file, a view that lays its rows over the
    snapshot's, and the triggers that turn a write on the view into a local row;
``backend``
    the engine that makes them, and tells Django what they did;
``rows``
    what differs from the snapshot, row by row;
``export``, ``management/commands/overlay``
    a command that shows, exports and discards what differs.

The commands ``snapshot`` and both engines are for SQLite. On a server the snapshot is a restored
dump, and a user that may only ``SELECT`` guards it; ``routers``, ``shadow`` and ``checks`` name no
engine.

Plainer: no overlay. A transaction that is rolled back shows what ten thousand updates would do. A
dump that is restored, a copy of the file, or a branch of the database, if its host offers them,
gives a whole database to try things on, with no router and no snapshot to keep.

The settings
------------

Production goes on with its own settings, and takes the snapshot. Add to ``settings.py``::

    INSTALLED_APPS += ["overlay"]
    LOCAL_DATABASE, SNAPSHOT_DATABASE = "default", "production"  # aliases, in local.py
    SHADOWED = OVERLAID = []
    SNAPSHOT = BASE_DIR / "snapshot.sqlite3"  # the file that the command `snapshot` makes
    PERSONAL = {  # what does not get into it
        # By column, the text that takes its place; {pk} is the row's key. None is NULL.
        "auth.User": {"username": "user{pk}", "password": "!", "email": ""},
        # No row at all.
        "admin.LogEntry": None,
        "sessions.Session": None,
    }

A developer has other settings, which name no database of production. With a router of your own for
models of another database, write that router first. Add to ``local.py``, beside the former::

    from .settings import *

    DATABASES = {
        "default": {
            "ENGINE": "overlay.backend",  # "overlay.attached", if OVERLAID is to be empty
            "NAME": BASE_DIR / "local.sqlite3",
        },
        "production": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": f"{SNAPSHOT.as_uri()}?mode=ro",
        },
    }
    DATABASE_ROUTERS = ["overlay.routers.ShadowRouter"]
    SHADOWED = ["admin", "auth", "contenttypes", "sessions"]  # apps, or models as in OVERLAID
    OVERLAID = ["notes.Note"]

Then run ``snapshot`` with production's settings, and all else with the developer's: ``migrate``,
which makes what is local, and ``shadow`` for each shadowed table that is to have the snapshot's
rows. Where content types or permissions have other keys in the snapshot, ``check --database`` says
which of them to copy.
"""
