"""Brings a replica up to date from the log: in order, in one transaction with its position.

Both files are open on one connection, the primary read-only as ``source``, so that the rows go from
file to file inside SQLite. What is applied in one go ends where a transaction of the primary ended:
readers of a replica see states that the primary was in, and no other.
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
HEARTBEAT = 0.5  # seconds after which a replica is told again that it is up to date


class Standing(NamedTuple):
    position: int  # the last that the replica has applied
    caught_up_at: float  # the time when it had applied all there was, in seconds since 1970
    last: int  # the last position of the primary


def read_position(connection):
    """Return a replica's position, when it had caught up, and which log these are of."""
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

    Raises NeedsSnapshot where the log doesn't go on from the replica's position.
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
        raise NeedsSnapshot(f"at position {position}, and the log begins at {first}")
    if position > last:
        raise NeedsSnapshot(f"at position {position}, and the log ends at {last}")
    return Standing(position, caught_up_at, last)


def connect_both(primary, replica, mode):
    """Open a replica, with the primary attached as ``source``.

    Raises NeedsSnapshot where the replica is missing or broken.
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
    """Return what tells a file from another that took its place, or None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


class Applier:
    """Brings one replica up to date, each time that `step` is called; alone, until it is closed.

    What the primary had committed at some time is applied ``delay`` seconds later.
    """

    def __init__(self, primary, replica, delay=0):
        self.primary, self.replica, self.delay = primary, replica, delay
        self.position = self.caught_up_at = 0  # as in Standing; the file may have an older time
        self.applied = self.snapshots = 0  # how many, for a caller to report and to set back
        self.seen = deque()  # (time, position) pairs: where the log ended, not due yet
        self.connection = self.holder = self.files = self.versions = None

    def connect(self):
        """Open both files, when they aren't open, or when another has taken the place of one."""
        files = identity(self.primary), identity(self.replica)
        if self.files == files:
            return
        self.close()
        self.holder = hold(self.replica)
        self.connection = connect_both(self.primary, self.replica, "rw")
        # The primary has checked what it holds. A COMMIT needn't outlive a loss of power: the
        # position would be lost with the rows.
        self.connection.execute("PRAGMA ignore_check_constraints = ON")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self.files = files

    def close(self):
        """Let go of the replica; the next step opens it again."""
        for opened in (self.connection, self.holder):
            if opened:
                opened.close()
        self.connection = self.holder = self.files = self.versions = None
        self.seen.clear()

    def step(self):
        """Apply what is due.

        Raises ReplicationError, or NeedsSnapshot, where the replica can't be brought up to date.
        """
        with errors_name(self.replica):
            self.connect()
            now = time.time()  # before the look at the log, which may be later, but not earlier
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
        if self.position < until:  # there the schema changed, and only a copy can follow
            self.position = snapshot.take(self.primary, self.replica)
            self.snapshots += 1

    def due(self, now, last):
        """Note that the log ends at ``last`` now; return the latest such pair that is due."""
        due = None
        # A thousand of them are enough to be right to a thousandth of the delay.
        if not self.seen or now - self.seen[-1][0] >= self.delay / 1000:
            self.seen.append((now, last))
        while self.seen and self.seen[0][0] <= now - self.delay:
            due = self.seen.popleft()
        return due

    def look_at_schemas(self):
        """Note the replica's tables; raise ReplicationError where triggers may be missing."""
        versions = [
            self.connection.execute(f"PRAGMA {database}.schema_version").fetchone()
            for database in ("main", "source")
        ]
        if versions == self.versions:
            return
        known = self.connection.execute("SELECT schema FROM source.replication_state").fetchone()
        if known != (log.schema(self.connection, "source"),):
            raise ReplicationError(
                "The schema of the primary is not the one that its log was made for: a migration "
                "is running, or has failed. Run: python manage.py migrate"
            )
        self.tables = log.replicated_tables(self.connection)
        self.versions = versions

    def apply(self, position, until):
        """Apply the entries after ``position``, up to one, or to a change of schema.

        Returns the position of the last one that was applied.
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
    """Return the SQL that applies a run of "put" entries."""
    return (
        f"INSERT OR REPLACE INTO main.{log.quote(table)} ({log.listing(columns)}) "
        f"SELECT {log.values(len(columns))} FROM source.replication_log "
        "WHERE position BETWEEN ? AND ? ORDER BY position"
    )


def delete(table, columns, key):
    """Return the SQL that applies a run of "delete" entries."""
    return (
        f"DELETE FROM main.{log.quote(table)} WHERE ({log.listing(key)}) IN "
        f"(SELECT {log.values(len(key))} FROM source.replication_log "
        "WHERE position BETWEEN ? AND ?)"
    )
