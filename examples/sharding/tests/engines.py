"""The suite on another engine: ``pytest --ds=tests.postgresql``, or ``mariadb``, or ``mixed``.

These settings change each alias's dict as you would, and name no server. libpq's own variables say
where PostgreSQL is: PGHOST, PGPORT, PGUSER, PGPASSWORD. MYSQL_UNIX_PORT says where MariaDB's socket
is; where it is not set, the group ``client`` of MariaDB's option files (``~/.my.cnf``) says all.
"""

import os
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connections

POSTGRESQL = {"ENGINE": "django.db.backends.postgresql"}
MARIADB = {
    "ENGINE": "django.db.backends.mysql",
    "OPTIONS": {} if "MYSQL_UNIX_PORT" in os.environ else {"read_default_group": "client"},
}
#: What of SQLite's dict another engine doesn't take.
SQLITE_ALONE = {"ENGINE", "NAME", "OPTIONS"}


def on(engine, alias, database):
    """Return the dict of ``alias``, which was on SQLite, for ``engine``."""
    kept = {key: value for key, value in database.items() if key not in SQLITE_ALONE}
    test = kept.get("TEST", {})
    if engine is MARIADB:
        test = test | {"CHARSET": "utf8mb4"}  # whatever the server's own is
    return kept | engine | {"NAME": name(alias), "TEST": test}


def name(alias, folder=Path(__file__).parents[1]):
    """Return the name of a database: of the project in ``folder``, as a file there would be."""
    return f"{alias}_{sha256(str(folder.resolve()).encode()).hexdigest()[:10]}"


@contextmanager
def databases_of(folder):
    """Make the databases of the project's copy in ``folder``, empty; at the end, drop them.

    Those on SQLite are files in the folder, and need neither.
    """
    servers = [alias for alias in settings.DATABASES if connections[alias].vendor != "sqlite"]
    if servers and settings.SETTINGS_MODULE == "shop.settings":
        # The copy would have the very databases that a reader's own settings name.
        pytest.skip("a copy has databases of its own only by --ds=tests.postgresql, or the like")
    for alias in servers:
        execute("CREATE DATABASE", alias, folder)
    try:
        yield
    finally:
        for alias in servers:
            execute("DROP DATABASE IF EXISTS", alias, folder)


def lose(alias, folder):
    """Take away a database of the copy in ``folder``; return its name, and what is said of it."""
    if connections[alias].vendor == "sqlite":
        file = folder / f"{alias}.sqlite3"
        file.mkdir()  # else SQLite would make a new file
        return file, "unable to open database file"
    execute("DROP DATABASE", alias, folder)
    missing = {"postgresql": "does not exist", "mysql": "Unknown database"}
    return name(alias, folder), missing[connections[alias].vendor]


def execute(statement, alias, folder):
    """Execute ``CREATE DATABASE`` or the like, for a database of the copy in ``folder``."""
    connection = connections[alias]
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"{statement} {connection.ops.quote_name(name(alias, folder))}")


def only_sqlite(reason):
    """Mark a test of what no other engine has; it is skipped there, and ``reason`` says why."""
    elsewhere = any(connection.vendor != "sqlite" for connection in connections.all())
    return pytest.mark.skipif(elsewhere, reason=reason)
