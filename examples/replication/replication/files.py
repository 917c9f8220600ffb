"""Which files are primaries, and which are replicas of which; how they are opened, and held.

Whose replica a database is, Django has a setting for: ``TEST["MIRROR"]``. Tests need it too.
"""

import sqlite3
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from django.core.management import CommandError
from django.db import DEFAULT_DB_ALIAS, connections

TIMEOUT = 0.2  # seconds to wait for another process to let go of a replica


class ReplicationError(CommandError):
    """Says what is wrong, and what to do about it: a command prints it as its one line."""


class NeedsSnapshot(ReplicationError):
    """Says what a replica is that the log can't bring up to date: "missing", for one."""


def path_of(alias):
    """Return the Path of an alias's database; raise ReplicationError where it is no file."""
    connection = connections[alias]
    if connection.vendor != "sqlite":
        raise ReplicationError(
            f'Database "{alias}" is on {connection.display_name}: this replication is for '
            "learning, and for SQLite only. Use the database's own."
        )
    name = str(connection.settings_dict["NAME"])
    if name.startswith("file:"):
        name = url2pathname(urlsplit(name).path)
    return Path(name)


def primaries():
    """Return a dict of lists: the aliases of the replicas, by the alias of their primary."""
    found = {}
    for alias in connections:
        if primary := connections.settings[alias]["TEST"]["MIRROR"]:
            found.setdefault(primary, []).append(alias)
    return found


def primary_of(replica):
    """Return the Path of the primary that an alias is the replica of."""
    return path_of(connections.settings[replica]["TEST"]["MIRROR"])


def replicas(only=None):
    """Return a dict of the replicas' aliases and Paths, or with an alias, of that one."""
    by_primary = primaries()
    if only in by_primary:
        names = ", ".join(by_primary[only])
        raise ReplicationError(f'"{only}" is the primary. The replicas are: {names}.')
    aliases = [alias for replicas in by_primary.values() for alias in replicas]
    if not aliases:
        raise ReplicationError(
            'No database is a replica. Say of which one it is: "TEST": {"MIRROR": "default"}.'
        )
    if only and only not in aliases:
        names = ", ".join(aliases)
        raise ReplicationError(f'There is no replica "{only}". The replicas are: {names}.')
    return {alias: path_of(alias) for alias in ([only] if only else aliases)}


def uri(path, mode):
    """Return what SQLite opens; mode is "ro", "rw", or "rwc" to create the file."""
    return f"{path.absolute().as_uri()}?mode={mode}"


def connect(path, mode):
    """Open a file, with Django's functions, which an index or a generated column may call.

    Returns an `sqlite3.Connection` that begins no transaction by itself, keeps no foreign keys (the
    primary has kept them), and can be used by one thread at a time.
    """
    wrapper = connections[DEFAULT_DB_ALIAS].copy()
    wrapper.settings_dict |= {"NAME": uri(path, mode), "OPTIONS": {}}
    connection = wrapper.get_new_connection(wrapper.get_connection_params())
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = OFF")
    return connection


@contextmanager
def transaction(connection):
    connection.execute("BEGIN IMMEDIATE")
    with connection:  # commits, or rolls back
        yield


@contextmanager
def errors_name(path):
    """Turn an error of SQLite into a ReplicationError that names the file."""
    try:
        yield
    except sqlite3.Error as error:
        raise ReplicationError(f"{path}: {error}") from error


def hold(replica):
    """Keep other processes from bringing this replica up to date, until what is returned is closed.

    SQLite's own lock on a file beside the replica: it is gone when its process is, however it died.
    """
    path = f"{replica}-lock"
    with errors_name(path):
        holder = sqlite3.connect(
            path, timeout=TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
            holder.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            holder.close()
            if error.sqlite_errorname != "SQLITE_BUSY":
                raise
            raise ReplicationError(f"Another process replicates to {replica.name}.") from error
    return holder


def is_held(replica):
    """Tell whether a process brings this replica up to date."""
    if not Path(f"{replica}-lock").exists():
        return False
    try:
        hold(replica).close()
    except ReplicationError:
        return True
    return False
