"""Replaces a lost primary by a replica.

On servers, a command makes the replica accept writes (``pg_promote()``). Then the other replicas
must follow it, and the application must write to it. If ``DATABASES`` names several hosts for an
alias, PostgreSQL's driver finds the new primary by itself. Here an alias is a file, so the data of
the replica is copied into the primary's file.
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
    position: int  # the position of the replica
    caught_up_at: float  # as in applier.Standing
    last: int | None  # the last position of the old primary, or None if it was lost
    kept: str | None  # the file that the old primary was copied to, or None if it had no file


def promote(primary, replica, force=False):
    """Copy the replica into the primary's file, with a new log. Return a Promotion.

    The old primary's file is copied to another name. All replicas need a new snapshot, this replica
    too. A replica has no triggers, so triggers other than those of the log must be created again.

    Raises ReplicationError if the primary still answers, unless ``force`` is true. Raises it, even
    with ``force``, if the primary exists but can't be read, and if another promotion is running.
    Raises NeedsSnapshot if the replica is missing or broken.
    """
    if not replica.exists():
        raise NeedsSnapshot("missing")
    # The primary is locked too. So if two replicas are promoted at a time, the second promotion
    # finds that there is a primary.
    with closing(hold(replica)), closing(hold(primary)), closing(sqlite3.connect("")) as copy:
        with errors_name(replica), closing(connect(replica, "ro")) as source:
            read_position(source)
            source.backup(copy)
        position, caught_up_at, name = read_position(copy)
        last = last_position(primary)
        if last is not None and not force:
            raise ReplicationError(
                f"The primary still answers. It is at position {last}, and {replica.name} is at "
                f"position {position}. To replace the primary all the same, use --force."
            )
        copy.execute("DROP TABLE replication_position")
        # The positions continue, because users carry positions of the old log.
        log.install(copy, after=max(position, last or 0))
        copy.commit()
        with errors_name(primary):
            kept = keep(primary)
            place(copy, primary)
    return Promotion(position, caught_up_at, last, kept)


def last_position(primary):
    """Return the last position of the primary's log, or None for a primary that is lost.

    A primary is lost if its file is missing, empty or damaged. An error that may be temporary, such
    as a lock, raises ReplicationError instead.
    """
    if not primary.exists():
        return None
    try:
        with closing(connect(primary, "ro")) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            if not tables:
                return None  # opening a missing file creates an empty file
            if "replication_log" not in tables:
                return 0
            # The last entry of the log may have been pruned, so its position is read from here.
            (last,) = connection.execute(
                "SELECT max(seq) FROM sqlite_sequence WHERE name = 'replication_log'"
            ).fetchone()
            return last or 0
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname in DAMAGED:
            return None
        raise ReplicationError(
            f"The primary, {primary.name}, exists but can't be read: {error}. It may be busy, so "
            "try again. If it is lost, rename its file first."
        ) from error


def keep(primary):
    """Copy the primary's file, if it exists. Return the name of the copy, or None."""
    if not primary.exists():
        return None
    path = unused(primary)
    try:
        with closing(connect(primary, "rw")) as source, closing(sqlite3.connect(path)) as copy:
            source.backup(copy)  # including the write-ahead log
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname not in DAMAGED:
            path.unlink()
            raise
        for suffix in ("", "-wal"):  # damaged, but somebody may want to examine it
            if (file := primary.with_name(primary.name + suffix)).exists():
                shutil.copy(file, path.with_name(path.name + suffix))
    return path.name


def unused(primary):
    """Create an empty file, named after the primary and the time. Return its Path."""
    name = f"{primary.name}.{time.strftime('%Y%m%d-%H%M%S')}"
    for suffix in chain([""], (f"-{n}" for n in count(2))):
        path = primary.with_name(name + suffix)
        with suppress(FileExistsError):
            path.touch(exist_ok=False)
            return path
