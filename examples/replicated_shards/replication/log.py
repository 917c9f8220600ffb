"""The change log: a table of the primary that its triggers write, in the writer's own transaction.

So what was rolled back was never in it, and as SQLite has one writer at a time, the order of the
positions is that of the commits. An entry is one of

========  ==============  ==========================================================
change    table_name      c1, c2, c3…
========  ==============  ==========================================================
put       of the row      the row: its columns, less the generated ones, in order
delete    of the row      the row's primary key
schema    NULL            NULL: here the schema changed, and the log begins anew
========  ==============  ==========================================================

"put" is an INSERT OR REPLACE, whether the row is new or not: so it does on a replica what REPLACE,
ON CONFLICT and cascades of the database did on the primary, whose own deletes no trigger may see.

The columns have no type, so that a value is logged as it is. JSON, or anything else that is text,
would round a float (``json_object('x', 0.1 + 0.2)`` is ``{"x":0.3}``), and has no blobs.

What it doesn't see: virtual tables, such as those of full-text search, and ``sqlite_sequence``.
These come with a snapshot only.
"""

from itertools import groupby

from replication.files import ReplicationError

KEEP = 100_000  # entries that stay, for a replica that is not being brought up to date

TABLES = """
    CREATE TABLE IF NOT EXISTS replication_log (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400),
        change TEXT NOT NULL,
        table_name TEXT
    );
    CREATE TABLE IF NOT EXISTS replication_state (log TEXT NOT NULL, schema TEXT NOT NULL);
"""


def quote(name):
    return '"' + name.replace('"', '""') + '"'


def listing(names, prefix=""):
    return ", ".join(prefix + quote(name) for name in names)


def values(count):
    """Return the names of the log's first columns for values."""
    return ", ".join(f"c{n}" for n in range(1, count + 1))


def replicated_tables(connection):
    """Return a dict of the tables that are replicated: ``{name: (columns, primary key)}``.

    Both are lists of names of columns. Generated columns are left out: a replica computes its own.
    """
    rows = connection.execute(
        """
        SELECT t.name, c.name, c.pk
        FROM pragma_table_list AS t JOIN pragma_table_xinfo(t.name) AS c
        WHERE t.schema = 'main' AND t.type = 'table' AND c.hidden = 0
            AND t.name NOT GLOB 'sqlite_*' AND t.name NOT GLOB 'replication_*'
        ORDER BY t.name, c.cid
        """
    )
    tables = {}
    for table, columns in groupby(rows, key=lambda row: row[0]):
        columns = [(place, column) for _, column, place in columns]
        key = [column for place, column in sorted(columns) if place]
        tables[table] = [column for _, column in columns], key
    return tables


def triggers(table, columns, key):
    """Yield the SQL of the triggers that log what happens to a table."""

    def entry(change, row, names, where=""):
        name = "'" + table.replace("'", "''") + "'"
        return (
            f"INSERT INTO replication_log (change, table_name, {values(len(names))}) "
            f"SELECT '{change}', {name}, {listing(names, row)}{where};"
        )

    put = entry("put", "NEW.", columns)
    delete = entry("delete", "OLD.", key)
    moved = " OR ".join(f"OLD.{quote(name)} IS NOT NEW.{quote(name)}" for name in key)
    move = entry("delete", "OLD.", key, f" WHERE {moved}")
    for event, body in [("insert", put), ("update", f"{move} {put}"), ("delete", delete)]:
        name = quote(f"replication_{table}_{event}")
        yield f"CREATE TRIGGER {name} AFTER {event} ON {quote(table)} BEGIN {body} END"


def schema(connection, database="main"):
    """Return the SQL of all tables, indexes, views and triggers, less the tables of this app."""
    rows = connection.execute(
        f"SELECT sql FROM {database}.sqlite_master "
        "WHERE sql IS NOT NULL AND tbl_name NOT GLOB 'replication_*' ORDER BY type, name"
    )
    return ";\n".join(sql for (sql,) in rows)


def remove_triggers(connection):
    """Drop the triggers that write the log."""
    rows = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name GLOB 'replication_*'"
    )
    for (name,) in rows.fetchall():
        connection.execute(f"DROP TRIGGER {quote(name)}")


def install(connection, after=0):
    """Make the log and its triggers, or make them fit a schema that has changed.

    To be called in a transaction. A new log begins after the position given. A change of schema,
    and triggers that were dropped on the way, are an entry of the log. Raises ReplicationError for
    a table without a primary key.
    """
    for statement in TABLES.split(";\n"):  # executescript() would commit the caller's transaction
        connection.execute(statement)
    known = connection.execute("SELECT schema FROM replication_state").fetchone()
    if known == (schema(connection),):
        return
    remove_triggers(connection)
    tables = replicated_tables(connection)
    there = len(connection.execute("PRAGMA table_info(replication_log)").fetchall()) - 4
    for n in range(there, max((len(columns) for columns, _ in tables.values()), default=0)):
        connection.execute(f"ALTER TABLE replication_log ADD COLUMN c{n + 1}")
    for table, (columns, key) in tables.items():
        if not key:
            raise ReplicationError(
                f"Table {table} has no primary key, so that the log can't tell its rows apart: "
                "give it one, then run: python manage.py migrate"
            )
        for trigger in triggers(table, columns, key):
            connection.execute(trigger)
    if known:
        connection.execute("UPDATE replication_state SET schema = ?", [schema(connection)])
    else:
        connection.execute(
            "INSERT INTO replication_state VALUES (hex(randomblob(8)), ?)", [schema(connection)]
        )
    connection.execute(
        "INSERT INTO replication_log (position, change) VALUES (?, 'schema')",
        [None if known else after + 1],
    )


def prune(connection, applied):
    """Forget the entries up to the position ``applied``, but none of the latest KEEP."""
    connection.execute(
        "DELETE FROM replication_log "
        "WHERE position <= min(?, (SELECT max(position) FROM replication_log) - ?)",
        [applied, KEEP],
    )
