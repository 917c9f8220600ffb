"""The tables and columns of a database, in a transaction that cannot write."""

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from django.db import transaction

#: For each vendor one query: name, whether it is a table, column. A view, a foreign table and a
#: virtual table of SQLite are no tables, and may have other columns than the model. These queries
#: read only the catalogue, so they wait for no lock on a table.
QUERIES = {
    "sqlite": """
        SELECT m.name, 1, c.name FROM sqlite_master AS m JOIN pragma_table_xinfo(m.name) AS c
        WHERE m.type = 'table' AND m.sql NOT LIKE 'CREATE VIRTUAL TABLE%'
        UNION ALL SELECT name, 0, NULL FROM sqlite_master
        WHERE type = 'view' OR sql LIKE 'CREATE VIRTUAL TABLE%'
    """,
    "postgresql": """
        SELECT c.relname, c.relkind IN ('r', 'p'), a.attname FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        LEFT JOIN pg_catalog.pg_attribute AS a
        ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema')
        AND pg_catalog.pg_table_is_visible(c.oid)
    """,
    "mysql": """
        SELECT t.table_name, t.table_type = 'BASE TABLE', c.column_name
        FROM information_schema.tables AS t
        JOIN information_schema.columns AS c
        ON c.table_schema = t.table_schema AND c.table_name = t.table_name
        WHERE t.table_schema = DATABASE()
    """,
}


@dataclass
class Table:
    """A table, or something that is read like a table. Names of columns are in lower case."""

    is_table: bool
    columns: set[str] = field(default_factory=set)


def tables_of(connection):
    """Return a dict from the lower-case names of all tables and views to ``Table``."""
    found = {}
    with connection.cursor() as cursor:
        if sql := QUERIES.get(connection.vendor):
            cursor.execute(sql)
            rows = cursor.fetchall()
        else:
            introspection = connection.introspection
            rows = [
                (info.name, info.type != "v", column.name)
                for info in introspection.get_table_list(cursor)
                for column in introspection.get_table_description(cursor, info.name)
            ]
    for name, is_table, column in rows:
        table = found.setdefault(name.lower(), Table(bool(is_table)))
        if column:
            table.columns.add(column.lower())
    return found


def missing_file(connection):
    """Return the path of SQLite's file if there is none. Connecting would make an empty file."""
    name = connection.settings_dict["NAME"]
    if (
        connection.vendor != "sqlite"
        or connection.connection is not None
        or connection.is_in_memory_db()
    ):
        return None
    path = str(name)
    if path.startswith("file:"):
        path = unquote(path.removeprefix("file://").removeprefix("file:").partition("?")[0])
    return None if Path(path).exists() else path


def read_only(connection):
    """Return a context in which the database refuses each write on this connection."""
    contexts = {
        "sqlite": read_only_sqlite,
        "postgresql": read_only_postgresql,
        "mysql": read_only_mysql,
    }
    return contexts.get(connection.vendor, nullcontext)(connection)


@contextmanager
def read_only_sqlite(connection):
    with connection.cursor() as cursor:
        (before,) = cursor.execute("PRAGMA query_only").fetchone()
        cursor.execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA query_only = {before}")


@contextmanager
def read_only_postgresql(connection):
    with transaction.atomic(using=connection.alias):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
        yield
        # If this is a savepoint of another transaction, that transaction can write again.
        transaction.set_rollback(True, using=connection.alias)


@contextmanager
def read_only_mysql(connection):
    if connection.in_atomic_block:
        yield  # START TRANSACTION would commit the transaction that is open
        return
    with connection.cursor() as cursor:
        cursor.execute("START TRANSACTION READ ONLY")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ROLLBACK")
