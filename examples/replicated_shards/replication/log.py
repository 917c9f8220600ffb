"""The change log: a table of the primary. Triggers write it in the transaction of the change.

So the log has no change that was rolled back. SQLite has one writer at a time, so the order of the
positions is the order of the commits. These are the kinds of entries:

========  ==============  ==========================================================
change    table_name      c1, c2, c3…
========  ==============  ==========================================================
put       of the row      the row: its columns, less the generated ones, in order
delete    of the row      the row's primary key
schema    NULL            NULL: the schema changed here, and the log starts again
========  ==============  ==========================================================

"put" is an INSERT OR REPLACE, whether the row is new or not. So it repeats on a replica the effect
of REPLACE, ON CONFLICT and cascades of the database. Triggers may not see the deletes that these
make on the primary.

The columns have no type, so a value is logged unchanged. JSON, or another text format, would round
a float (``json_object('x', 0.1 + 0.2)`` is ``{"x":0.3}``), and has no blobs.

The log does not contain changes of virtual tables, such as those of full-text search, and of
``sqlite_sequence``. Only a snapshot copies these.
"""

from itertools import groupby

from replication.files import ReplicationError

KEEP = 100_000  # the latest entries, which stay for a replica that is stopped

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
    """Return the names of the first ``count`` columns of the log that hold values."""
    return ", ".join(f"c{n}" for n in range(1, count + 1))


def replicated_tables(connection):
    """Return a dict of the tables that are replicated: ``{name: (columns, primary key)}``.

    Both are lists of names of columns. Generated columns are left out, because a replica computes
    them itself.
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
    """Yield the SQL of the triggers that log the changes of a table."""

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
    """Return the SQL of all tables, indexes, views and triggers, without those of this app."""
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

    Call this in a transaction. A new log begins after the position ``after``. If the schema has
    changed, or if triggers were dropped in between, the log gets a "schema" entry. Raises
    ReplicationError for a table without a primary key.
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
                f"Table {table} has no primary key, so the log can't identify its rows. Add a "
                "primary key, then run: python manage.py migrate"
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
    """Delete the entries up to the position ``applied``, but none of the latest KEEP."""
    connection.execute(
        "DELETE FROM replication_log "
        "WHERE position <= min(?, (SELECT max(position) FROM replication_log) - ?)",
        [applied, KEEP],
    )
