"""A change tried out over a snapshot of production, which stays as it is. To be copied whole.

Its parts, in reading order. First tables that are local as a whole (shadowed), which need no more:

``routers``
    which database a model is read from and written to, and the error ``NotLocal``;
``reading``
    ``get_or_create()`` of a model of the snapshot: a row that exists is found;
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

The command ``snapshot`` and both engines are for SQLite. On PostgreSQL and MariaDB whole tables are
shadowed by Django's own engine, without joins to the snapshot's tables, and no rows are overlaid:
leave ``OVERLAID`` empty. There the snapshot is a restored dump, and a user that may only ``SELECT``
guards it. The local database may be of another engine than the snapshot. The commands show their
progress by the package ``tqdm``.

Plainer: no overlay. A transaction that is rolled back shows what ten thousand updates would do. A
dump that is restored, a copy of the file, or a branch of the database, if its host offers them,
gives a whole database to try things on, with no router and no snapshot to keep.

The settings
------------

Production goes on with its own settings, and takes the snapshot. Add to ``settings.py``::

    INSTALLED_APPS += ["overlay"]
    LOCAL_DATABASE, SNAPSHOT_DATABASE = "default", "production"  # as in local.py
    SHADOWED = OVERLAID = []
    SNAPSHOT = BASE_DIR / "snapshot.sqlite3"  # the file that the command `snapshot` makes
    PERSONAL = {  # what does not get into it
        # By column, the text that takes its place; {pk} is the row's key. None is NULL.
        "auth.User": {
            "username": "user{pk}",
            "password": "!",
            "first_name": "",
            "last_name": "",
            "email": "",
        },
        # No row at all.
        "admin.LogEntry": None,
        "sessions.Session": None,
    }
    HARMLESS = {  # what does, by column, but for keys: any other column stops the command
        "auth.Group": ["name"],
        "auth.Permission": ["name", "codename"],
        "auth.User": ["last_login", "is_superuser", "is_staff", "is_active", "date_joined"],
        "contenttypes.ContentType": ["app_label", "model"],
        "notes.Shelf": ["name"],
        "notes.Note": ["text"],
    }

A developer has other settings, which name no database of production. A router of your own, for
models of another database, goes before ``ShadowRouter``. Add to ``local.py``, a new file beside
the former::

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
rows. Content types and permissions have them at once, as the snapshot's other rows refer to their
keys; where a later snapshot differs, ``check --database`` says so.
"""
