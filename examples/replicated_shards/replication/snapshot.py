"""Snapshots: a copy of the whole primary, at one position of its log, becomes a replica."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from replication import log
from replication.files import ReplicationError, connect, errors_name

DAMAGED = ("SQLITE_NOTADB", "SQLITE_CORRUPT")  # SQLite's errors for a file that is not a database


def take(primary, replica):
    """Make the replica a copy of the primary. Return the position of the copy.

    Both are Paths. The replica's file need not exist. This blocks neither writers of the primary
    nor readers of the replica.
    """
    now = time.time()
    # For a database without a name SQLite uses a temporary file, and deletes it with the process.
    with closing(connect_to_log(primary)) as source, closing(sqlite3.connect("")) as copy:
        with errors_name(primary):
            source.backup(copy)
        (name,) = copy.execute("SELECT log FROM replication_state").fetchone()
        (position,) = copy.execute("SELECT max(position) FROM replication_log").fetchone()
        # All triggers, because the log has the changes that they made on the primary.
        triggers = copy.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (trigger,) in triggers.fetchall():
            copy.execute(f"DROP TRIGGER {log.quote(trigger)}")
        copy.execute("DROP TABLE replication_log")
        copy.execute("DROP TABLE replication_state")
        copy.execute(
            "CREATE TABLE replication_position "
            "(position INTEGER NOT NULL, caught_up_at REAL NOT NULL, log TEXT NOT NULL)"
        )
        copy.execute("INSERT INTO replication_position VALUES (?, ?, ?)", [position, now, name])
        copy.commit()
        with errors_name(replica):
            place(copy, replica)
    return position


def connect_to_log(primary):
    """Open the primary for reading. Raise ReplicationError if it is missing or has no log."""
    if not primary.exists():
        raise ReplicationError(
            f"The primary, {primary.name}, is missing. If the project is new, run: python "
            "manage.py migrate. If the primary was lost, run: python manage.py promote, with the "
            "alias of a replica."
        )
    connection = connect(primary, "ro")
    try:
        connection.execute("SELECT log FROM replication_state").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        if "no such table" in str(error):
            raise ReplicationError(
                f"The primary, {primary.name}, has no log. Run: python manage.py migrate"
            ) from error
        raise ReplicationError(f"The primary, {primary.name}: {error}") from error
    return connection


def place(copy, target):
    """Copy the database of the connection ``copy`` into the file ``target``.

    The content is replaced in one transaction. The file itself is not replaced, because processes
    that have the old file open would continue to read it, and SQLite would use the old file's
    journal for the new file. In WAL mode, a reader sees the old content until its transaction ends,
    and the new content after that. If this process is killed, the old content stays.
    """
    if not target.exists():
        remove(target)  # the journals of an earlier file of this name
    try:
        connection = connect(target, "rwc")
        with closing(connection):
            (page_size,) = copy.execute("PRAGMA page_size").fetchone()
            connection.execute(f"PRAGMA page_size = {page_size}")  # if the file is new
            connection.execute("PRAGMA journal_mode = WAL")
            copy.backup(connection)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname not in DAMAGED:
            raise
        remove(target)
        place(copy, target)


def remove(target):
    """Delete a file and its journals. The file is first: it must not be opened without them."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{target}{suffix}").unlink(missing_ok=True)
