"""Try out changes over a snapshot of production. The snapshot stays unchanged. Copy the whole app.

These are its parts, in reading order. For tables that are local as a whole (shadowed), you need:

``routers``
    chooses the database of a model for reads and for writes; defines the error ``NotLocal``;
``reading``
    makes ``get_or_create()`` find a row that exists, for a model that is read from the snapshot;
``management/commands/snapshot``
    makes the snapshot, of one moment, with personal data masked or left out;
``management/commands/shadow``
    copies the snapshot's rows into a shadowed table;
``attached``
    the database engine: Django's engine for SQLite, with the snapshot attached read-only;
``checks``
    system checks for a project that has copied the app. ``check --database default`` also compares
    the two databases.

To overlay single rows on the snapshot's rows, such that Django sees one table, you also need the
following parts. If you overlay no rows, leave ``OVERLAID`` empty, and delete them:

``tables``
    the SQL. Each overlaid model has a table of local rows, a view that shows these rows in place of
    the snapshot's, and triggers that store each write to the view as a local row;
``backend``
    the engine that makes the tables, views and triggers, and counts the changed rows for Django;
``rows``
    finds the rows that differ from the snapshot;
``export``, ``management/commands/overlay``
    a command that shows, exports, keeps and discards these differences.

The command ``snapshot`` and both engines are for SQLite. On PostgreSQL and MariaDB you can shadow
whole tables with Django's own engine, without joins to the snapshot's tables. Rows can't be
overlaid there: leave ``OVERLAID`` empty. The snapshot is then a restored dump, which is read by a
database user with the right to ``SELECT`` only. The local database may have another engine than the
snapshot. The commands show their progress with the package ``tqdm``.

There are plainer ways, without this app. A transaction that is rolled back shows the effect of ten
thousand updates. A restored dump, a copy of the file, or a branch of the database, if its host has
branches, is a whole database to try things on. Then you need no router and keep no snapshot.

The settings
------------

Production keeps its own settings, and makes the snapshot. Add to ``settings.py``::

    INSTALLED_APPS += ["overlay"]
    LOCAL_DATABASE, SNAPSHOT_DATABASE = "default", "production"  # as in local.py
    SHADOWED = OVERLAID = []
    SNAPSHOT = BASE_DIR / "snapshot.sqlite3"  # the file that the command `snapshot` makes
    PERSONAL = {  # masked or left out in the snapshot
        # For each column a text to write instead. {pk} is the row's key. None writes NULL.
        "auth.User": {
            "username": "user{pk}",
            "password": "!",
            "first_name": "",
            "last_name": "",
            "email": "",
        },
        # None instead of columns leaves out all rows.
        "admin.LogEntry": None,
        "sessions.Session": None,
    }
    HARMLESS = {  # columns that are copied as they are; a column in neither stops `snapshot`
        "auth.Group": ["name"],
        "auth.Permission": ["name", "codename"],
        "auth.User": ["last_login", "is_superuser", "is_staff", "is_active", "date_joined"],
        "contenttypes.ContentType": ["app_label", "model"],
        "notes.Shelf": ["name"],
        "notes.Note": ["text"],
    }

A developer has other settings, which contain no database of production. If you have a router for
models of another database, put it before ``ShadowRouter``. Write these settings in ``local.py``, a
new file next to ``settings.py``::

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

Then run ``snapshot`` with production's settings, and all other commands with the developer's.
``migrate`` makes the local tables. ``shadow`` copies the snapshot's rows into a shadowed table: run
it for each table that needs them. For content types and permissions ``migrate`` does this, because
other rows of the snapshot refer to their keys. If the keys of a later snapshot differ, ``check
--database default`` reports an error.
"""
