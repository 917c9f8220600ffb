"""Puts a replica in the place of a primary that is lost.

A server's replica is told to take writes (``pg_promote()``), the other replicas to follow it, and
the application to write to it; where ``DATABASES`` names several hosts for an alias, PostgreSQL's
driver finds the new primary by itself. Here an alias is a file, so the primary's file gets what the
replica holds.
"""

import shutil
import sqlite3
import time
from contextlib import closing, suppress
from itertools import chain, count
from typing import NamedTuple

from replication import log
from replication.applier import read_position
from replication.files import NeedsSnapshot, ReplicationError, connect, errors_name, hold
from replication.snapshot import DAMAGED, place


class Promotion(NamedTuple):
    position: int  # of the replica
    caught_up_at: float  # as in applier.Standing
    last: int | None  # the last position of the old primary, or None if it didn't answer
    kept: str | None  # the name of the file that the old primary was copied to, if there was one


def promote(primary, replica, force=False):
    """Make the primary what the replica is, with a new log; return a Promotion.

    The old primary's file is kept under another name. All replicas, this one too, need a snapshot.
    Triggers that were the primary's own, beside the log's, are to be made again.
    Raises ReplicationError when the primary still answers, unless ``force`` is true, when it is
    there and can't be asked, whatever ``force`` is, and when another promotion is running;
    NeedsSnapshot when the replica is missing or broken.
    """
    if not replica.exists():
        raise NeedsSnapshot("missing")
    # The primary too: of two replicas that are promoted at a time, the second finds a primary.
    with closing(hold(replica)), closing(hold(primary)), closing(sqlite3.connect("")) as copy:
        with errors_name(replica), closing(connect(replica, "ro")) as source:
            read_position(source)
            source.backup(copy)
        position, caught_up_at, name = read_position(copy)
        last = last_position(primary)
        if last is not None and not force:
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
    """Return the last position of the primary's log, or None for a primary that is lost.

    That is one whose file is missing, empty or damaged. An error that may pass, as a lock does,
    says nothing of the kind: it raises ReplicationError.
    """
    if not primary.exists():
        return None
    try:
        with closing(connect(primary, "ro")) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            if not tables:
                return None  # who opens a file that is missing leaves an empty one
            if "replication_log" not in tables:
                return 0
            # Not the last entry: the log may have been pruned.
            (last,) = connection.execute(
                "SELECT max(seq) FROM sqlite_sequence WHERE name = 'replication_log'"
            ).fetchone()
            return last or 0
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname in DAMAGED:
            return None
        raise ReplicationError(
            f"The primary, {primary.name}, is there and can't be asked: {error}. It may be busy: "
            "try again. If it is lost, move its file away first."
        ) from error


def keep(primary):
    """Copy the primary's file, as far as there is one; return the name of the copy."""
    if not primary.exists():
        return None
    path = unused(primary)
    try:
        with closing(connect(primary, "rw")) as source, closing(sqlite3.connect(path)) as copy:
            source.backup(copy)  # what is in the write-ahead log too
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname not in DAMAGED:
            path.unlink()
            raise
        for suffix in ("", "-wal"):  # damaged, but someone may want to look at it
            if (file := primary.with_name(primary.name + suffix)).exists():
                shutil.copy(file, path.with_name(path.name + suffix))
    return path.name


def unused(primary):
    """Create an empty file, whose name is the primary's and the time; return its Path."""
    name = f"{primary.name}.{time.strftime('%Y%m%d-%H%M%S')}"
    for suffix in chain([""], (f"-{n}" for n in count(2))):
        path = primary.with_name(name + suffix)
        with suppress(FileExistsError):
            path.touch(exist_ok=False)
            return path
