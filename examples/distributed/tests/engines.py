"""The suite on another engine: ``pytest --ds=tests.postgresql``, or ``mariadb``, or ``mixed``.

These settings replace the dict of each alias, without the address of a server. The variables of
libpq give the address of PostgreSQL: PGHOST, PGPORT, PGUSER, PGPASSWORD. MYSQL_UNIX_PORT gives the
socket of MariaDB. If this variable is not set, the group ``client`` of MariaDB's option files
(``~/.my.cnf``) gives the address.
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
#: The keys of SQLite's dict that another engine does not accept.
SQLITE_ALONE = {"ENGINE", "NAME", "OPTIONS"}


def on(engine, alias, database):
    """Return the dict of ``alias`` for ``engine``, made from the dict for SQLite."""
    kept = {key: value for key, value in database.items() if key not in SQLITE_ALONE}
    test = kept.get("TEST", {})
    if engine is MARIADB:
        test = test | {"CHARSET": "utf8mb4"}  # instead of the server's default
    return kept | engine | {"NAME": name(alias), "TEST": test}


def name(alias, folder=Path(__file__).parents[1]):
    """Return the name of a database, which is different for each folder of a project."""
    return f"{alias}_{sha256(str(folder.resolve()).encode()).hexdigest()[:10]}"


@contextmanager
def databases_of(folder):
    """Create empty databases for the project's copy in ``folder``, and drop them at the end.

    SQLite's databases are files in the folder, so nothing is created or dropped for them.
    """
    servers = [alias for alias in settings.DATABASES if connections[alias].vendor != "sqlite"]
    if servers and settings.SETTINGS_MODULE == "shop.settings":
        # The copy would use the same databases as the settings that were changed by hand.
        pytest.skip("a copy has separate databases only with --ds=tests.postgresql or similar")
    for alias in servers:
        execute("CREATE DATABASE", alias, folder)
    try:
        yield
    finally:
        for alias in servers:
            execute("DROP DATABASE IF EXISTS", alias, folder)


def lose(alias, folder):
    """Remove a database of the copy in ``folder``. Return its name, and a part of the error."""
    if connections[alias].vendor == "sqlite":
        file = folder / f"{alias}.sqlite3"
        file.mkdir()  # otherwise SQLite would create a new file
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
    """Mark a test that only applies to SQLite. On other engines it is skipped, with ``reason``."""
    elsewhere = any(connection.vendor != "sqlite" for connection in connections.all())
    return pytest.mark.skipif(elsewhere, reason=reason)
