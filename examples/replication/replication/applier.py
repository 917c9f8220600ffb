"""Brings a replica up to date from the log: in order, in one transaction with its position.

One connection has both files open, the primary read-only as ``source``. So SQLite copies the rows
from file to file. Each transaction of the applier ends where a transaction of the primary ended. So
readers of a replica see only states that the primary had too.
"""

import sqlite3
import time
from collections import deque
from itertools import groupby
from typing import NamedTuple

from tqdm import tqdm

from replication import log, snapshot
from replication.files import (
    NeedsSnapshot,
    ReplicationError,
    connect,
    errors_name,
    hold,
    transaction,
    uri,
)

BATCH = 5_000  # entries in one statement
HEARTBEAT = 0.5  # seconds after which an idle replica gets a new time of being up to date


class Standing(NamedTuple):
    position: int  # the last position that the replica has applied
    caught_up_at: float  # the time when it had applied the whole log, in seconds since 1970
    last: int  # the last position of the primary


def read_position(connection):
    """Return a replica's position, the time when it had caught up, and the name of the log."""
    try:
        return connection.execute(
            "SELECT position, caught_up_at, log FROM main.replication_position"
        ).fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname.startswith("SQLITE_BUSY"):
            raise
        raise NeedsSnapshot(f"broken ({error})") from error


def standing(connection):
    """Return the Standing of a replica, with the primary attached as ``source``.

    Raises NeedsSnapshot if the log does not continue at the replica's position.
    """
    position, caught_up_at, name = read_position(connection)
    their_name, first, last = connection.execute(
        "SELECT (SELECT log FROM source.replication_state), "
        "(SELECT min(position) FROM source.replication_log), "
        "(SELECT max(position) FROM source.replication_log)"
    ).fetchone()
    if name != their_name:
        raise NeedsSnapshot("a replica of another primary")
    if position < first - 1:
        raise NeedsSnapshot(f"at position {position}, but the log begins at {first}")
    if position > last:
        raise NeedsSnapshot(f"at position {position}, but the log ends at {last}")
    return Standing(position, caught_up_at, last)


def connect_both(primary, replica, mode):
    """Open a replica, with the primary attached as ``source``.

    Raises NeedsSnapshot if the replica is missing or broken.
    """
    snapshot.connect_to_log(primary).close()
    if not replica.exists():
        raise NeedsSnapshot("missing")
    connection = connect(replica, mode)
    try:
        read_position(connection)
        connection.execute("ATTACH ? AS source", [uri(primary, "ro")])
    except BaseException:
        connection.close()
        raise
    return connection


def identity(path):
    """Return the identity of a file, which changes if the file is replaced, or None."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


class Applier:
    """Brings one replica up to date each time that `step` is called.

    Until it is closed, no other process can do so. Each change is applied ``delay`` seconds after
    its commit.
    """

    def __init__(self, primary, replica, delay=0):
        self.primary, self.replica, self.delay = primary, replica, delay
        self.position = self.caught_up_at = 0  # as in Standing, but the file's time may be older
        self.applied = self.snapshots = 0  # counts, which the caller reports and resets
        self.seen = deque()  # (time, last position of the log) pairs that are not due yet
        self.connection = self.holder = self.files = self.versions = None

    def connect(self):
        """Open both files if they are not open, or if one of them has been replaced."""
        files = identity(self.primary), identity(self.replica)
        if self.files == files:
            return
        self.close()
        self.holder = hold(self.replica)
        self.connection = connect_both(self.primary, self.replica, "rw")
        # The primary has checked its rows. A COMMIT may be lost in a power failure, because the
        # position would be lost with the rows.
        self.connection.execute("PRAGMA ignore_check_constraints = ON")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self.files = files

    def close(self):
        """Close the files and release the replica. The next step opens them again."""
        for opened in (self.connection, self.holder):
            if opened:
                opened.close()
        self.connection = self.holder = self.files = self.versions = None
        self.seen.clear()

    def step(self):
        """Apply the changes that are due.

        Raises ReplicationError, or NeedsSnapshot, if the replica can't be brought up to date.
        """
        with errors_name(self.replica):
            self.connect()
            now = time.time()  # before the log is read, so that the time is never too late
            with transaction(self.connection):
                self.look_at_schemas()
                position, caught_up_at, last = standing(self.connection)
                self.position = position
                due = self.due(now, last)
                if due is None:
                    return
                self.caught_up_at, until = due
                self.position = self.apply(position, until)
                if self.position > position or self.caught_up_at - caught_up_at > HEARTBEAT:
                    self.connection.execute(
                        "UPDATE main.replication_position SET position = ?, caught_up_at = ?",
                        [self.position, self.caught_up_at],
                    )
        if self.position < until:  # the schema changed there, so the replica needs a new copy
            self.position = snapshot.take(self.primary, self.replica)
            self.snapshots += 1

    def due(self, now, last):
        """Record that the log ends at ``last`` now. Return the latest such pair that is due."""
        due = None
        # With a thousand pairs, the error is at most a thousandth of the delay.
        if not self.seen or now - self.seen[-1][0] >= self.delay / 1000:
            self.seen.append((now, last))
        while self.seen and self.seen[0][0] <= now - self.delay:
            due = self.seen.popleft()
        return due

    def look_at_schemas(self):
        """Read the replica's tables. Raise ReplicationError if triggers may be missing."""
        versions = [
            self.connection.execute(f"PRAGMA {database}.schema_version").fetchone()
            for database in ("main", "source")
        ]
        if versions == self.versions:
            return
        known = self.connection.execute("SELECT schema FROM source.replication_state").fetchone()
        if known != (log.schema(self.connection, "source"),):
            raise ReplicationError(
                "The schema of the primary has changed, but its log was made for the old schema. A "
                "migration is running, or has failed. Run: python manage.py migrate"
            )
        self.tables = log.replicated_tables(self.connection)
        self.versions = versions

    def apply(self, position, until):
        """Apply the entries after ``position``, up to ``until`` or to a change of the schema.

        Return the position of the last entry that was applied.
        """
        entries = self.connection.execute(
            "SELECT change, table_name, position / ?, position FROM source.replication_log "
            "WHERE position > ? AND position <= ? ORDER BY position",
            [BATCH, position, until],
        )
        with tqdm(total=until - position, unit="entry", delay=1, leave=False, disable=None) as bar:
            for (change, table, _), run in groupby(entries, key=lambda entry: entry[:3]):
                if change == "schema":
                    break
                first = position + 1
                *_, position = list(run)[-1]
                statement = put if change == "put" else delete
                self.connection.execute(statement(table, *self.tables[table]), [first, position])
                self.applied += position - first + 1
                bar.update(position - first + 1)
        return position


def put(table, columns, key):
    """Return the SQL that applies successive "put" entries of one table."""
    return (
        f"INSERT OR REPLACE INTO main.{log.quote(table)} ({log.listing(columns)}) "
        f"SELECT {log.values(len(columns))} FROM source.replication_log "
        "WHERE position BETWEEN ? AND ? ORDER BY position"
    )


def delete(table, columns, key):
    """Return the SQL that applies successive "delete" entries of one table."""
    return (
        f"DELETE FROM main.{log.quote(table)} WHERE ({log.listing(key)}) IN "
        f"(SELECT {log.values(len(key))} FROM source.replication_log "
        "WHERE position BETWEEN ? AND ?)"
    )
