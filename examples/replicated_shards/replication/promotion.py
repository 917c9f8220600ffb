"""Puts a replica in the place of a primary that is lost.

A server's replica is told to take writes (``pg_promote()``), the other replicas to follow it, and
the application to write to it; where ``DATABASES`` names several hosts for an alias, PostgreSQL's
driver finds the new primary by itself. Here an alias is a file, so the primary's file gets what the
replica holds.
"""

import shutil
import sqlite3
import time
from contextlib import closing
from typing import NamedTuple

from replication import log
from replication.applier import read_position
from replication.files import NeedsSnapshot, ReplicationError, connect, errors_name, hold
from replication.snapshot import connect_to_log, place


class Promotion(NamedTuple):
    position: int  # of the replica
    caught_up_at: float  # as in applier.Standing
    last: int | None  # the last position of the old primary, or None if it didn't answer
    kept: str | None  # the name of the file that the old primary was copied to, if there was one


def promote(primary, replica, force=False):
    """Make the primary what the replica is, with a new log; return a Promotion.

    The old primary's file is kept under another name. All replicas, this one too, need a snapshot.
    Triggers that were the primary's own, beside the log's, are to be made again.
    Raises ReplicationError when the primary still answers, unless ``force`` is true, and
    NeedsSnapshot when the replica is missing or broken.
    """
    if not replica.exists():
        raise NeedsSnapshot("missing")
    with closing(hold(replica)), closing(sqlite3.connect("")) as copy:
        with errors_name(replica), closing(connect(replica, "ro")) as source:
            read_position(source)
            source.backup(copy)
        position, caught_up_at, name = read_position(copy)
        last = last_position(primary)
        if last and not force:
            raise ReplicationError(
                f"The primary answers: it is at position {last}, and {replica.name} at {position}. "
                "To go back to what the replica holds all the same, use --force."
            )
        copy.execute("DROP TABLE replication_position")
        # The positions go on, as readers carry those of the old log.
        log.install(copy, after=max(position, last or 0))
        copy.commit()
        with errors_name(primary):
            kept = keep(primary)
            place(copy, primary)
    return Promotion(position, caught_up_at, last, kept)


def last_position(primary):
    """Return the last position of the primary's log, or None where it can't be read."""
    try:
        with closing(connect_to_log(primary)) as connection:
            return connection.execute("SELECT max(position) FROM replication_log").fetchone()[0]
    except (ReplicationError, sqlite3.DatabaseError):
        return None


def keep(primary):
    """Copy the primary's file, as far as there is one; return the name of the copy."""
    if not primary.exists():
        return None
    path = primary.with_name(f"{primary.name}.{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        with closing(connect(primary, "rw")) as source, closing(sqlite3.connect(path)) as copy:
            source.backup(copy)  # what is in the write-ahead log too
    except sqlite3.DatabaseError:
        shutil.copy(primary, path)  # damaged, but someone may want to look at it
    return path.name
