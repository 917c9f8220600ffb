"""Which files are primaries and replicas, and how these files are opened and locked.

Django's setting ``TEST["MIRROR"]`` names the primary of a replica. Tests need this setting too.
"""

import sqlite3
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from django.core.management import CommandError
from django.db import DEFAULT_DB_ALIAS, connections

TIMEOUT = 0.2  # seconds to wait until another process releases a replica


class ReplicationError(CommandError):
    """A command prints this error as one line. It has the cause, and what to do."""


class NeedsSnapshot(ReplicationError):
    """A replica can't be brought up to date by the log. The message is its state: "missing"."""


def path_of(alias):
    """Return the Path of an alias's database. Raise ReplicationError if it is not a file."""
    connection = connections[alias]
    if connection.vendor != "sqlite":
        raise ReplicationError(
            f'Database "{alias}" is on {connection.display_name}. The app "replication" is only '
            f"for SQLite. Use the replication of {connection.display_name}."
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
    """Return the Path of the primary of a replica."""
    return path_of(connections.settings[replica]["TEST"]["MIRROR"])


def replicas(only=None):
    """Return a dict of the Paths of all replicas by alias, or only of the replica ``only``."""
    by_primary = primaries()
    if only in by_primary:
        names = ", ".join(by_primary[only])
        raise ReplicationError(f'"{only}" is the primary. The replicas are: {names}.')
    aliases = [alias for replicas in by_primary.values() for alias in replicas]
    if not aliases:
        raise ReplicationError(
            "No database in DATABASES is a replica. Add this to the entry of a replica: "
            '"TEST": {"MIRROR": "default"}'
        )
    if only and only not in aliases:
        names = ", ".join(aliases)
        raise ReplicationError(f'There is no replica "{only}". The replicas are: {names}.')
    return {alias: path_of(alias) for alias in ([only] if only else aliases)}


def uri(path, mode):
    """Return the URI for SQLite. The mode is "ro", "rw", or "rwc" to create the file."""
    return f"{path.absolute().as_uri()}?mode={mode}"


def connect(path, mode):
    """Open a file, with Django's SQL functions, which an index or a generated column may call.

    Return an `sqlite3.Connection` that begins no transaction by itself, and does not check foreign
    keys, because the primary has checked them. One thread at a time can use it.
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
    """Lock the replica against other processes that replicate. Close the result to unlock it.

    This is SQLite's lock on a separate file. The lock ends with its process, even if the process is
    killed.
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
            raise ReplicationError(
                f"Another process replicates to {replica.name}. Stop it first."
            ) from error
    return holder


def is_held(replica):
    """Return whether a process brings this replica up to date."""
    if not Path(f"{replica}-lock").exists():
        return False
    try:
        hold(replica).close()
    except ReplicationError:
        return True
    return False
