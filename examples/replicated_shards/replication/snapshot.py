"""Snapshot shipping: a replica is a copy of the whole primary, at one position of its log."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from replication import log
from replication.files import ReplicationError, connect, errors_name

DAMAGED = ("SQLITE_NOTADB", "SQLITE_CORRUPT")  # SQLite's errors for a file that is no database


def take(primary, replica):
    """Make the replica a copy of the primary; return the position that it is at.

    Both are Paths; the replica's file need not exist. Nobody waits: not those who write to the
    primary, nor those who read the replica.
    """
    now = time.time()
    # A database without a name is a temporary file of SQLite's, gone when its process is.
    with closing(connect_to_log(primary)) as source, closing(sqlite3.connect("")) as copy:
        with errors_name(primary):
            source.backup(copy)
        (name,) = copy.execute("SELECT log FROM replication_state").fetchone()
        (position,) = copy.execute("SELECT max(position) FROM replication_log").fetchone()
        # All triggers, as the log has what they wrote on the primary.
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
    """Open the primary for reading; raise ReplicationError where it is missing or has no log."""
    if not primary.exists():
        raise ReplicationError(
            f"The primary, {primary.name}, is missing. New: python manage.py migrate. "
            "Lost: python manage.py promote, with the alias of a replica."
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
    """Make the file ``target`` hold what the connection ``copy`` does.

    In the file, in one transaction, and not by a new file in the old one's place: that would leave
    those who have the old one open to read it for ever, and beside it a journal that SQLite would
    take for the new one's. In WAL mode those who are reading see the old content until they are
    done, and the new one from then on; and a process that is killed at this leaves the old one.
    """
    if not target.exists():
        remove(target)  # what another file of this name has left
    try:
        connection = connect(target, "rwc")
        with closing(connection):
            (page_size,) = copy.execute("PRAGMA page_size").fetchone()
            connection.execute(f"PRAGMA page_size = {page_size}")  # where the file is new
            connection.execute("PRAGMA journal_mode = WAL")
            copy.backup(connection)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname not in DAMAGED:
            raise
        remove(target)
        place(copy, target)


def remove(target):
    """Delete a file and its journals: the file first, so that nobody opens it without them."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{target}{suffix}").unlink(missing_ok=True)
