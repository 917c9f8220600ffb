"""Which replicas may be read from: those that answer, and that are not too far behind."""

import logging
from math import isfinite
from threading import Lock
from time import monotonic

from django.conf import settings
from django.db import Error, connections
from django.utils.module_loading import import_string

logger = logging.getLogger("replicas")

ADDRESS = ("NAME", "HOST", "PORT")

_retry_at = {}  # by the alias of a skipped replica, the ``monotonic()`` time of the next try
_lock = Lock()


def position():
    """Return an object that reads positions: see ``positions``."""
    return import_string(settings.REPLICA_POSITION)()


def seconds_behind(alias):
    """Return how many seconds the replica is behind, or None if it must not be read from.

    A replica must not be read from if it is missing, if it is broken, or if it is more than
    ``REPLICA_MAX_LAG`` seconds behind. Then the whole process skips the replica for
    ``REPLICA_RETRY`` seconds, and tries it again after that.
    """
    if not _is_due(alias):
        return None
    try:
        behind = _measure(connections[alias])
    except Error as error:
        skip(alias, error)
        return None
    if behind > settings.REPLICA_MAX_LAG:
        skip(alias, f"it is {behind:.0f} s behind" if isfinite(behind) else "its lag is unknown")
        return None
    if _retry_at.pop(alias, None):
        # A warning too, so that it is logged wherever the first warning was logged.
        logger.warning("%s is read from again.", alias)
    return max(behind, 0.0)


def _measure(connection):
    if _is_the_primary(connection):
        return 0.0
    may_reopen = connection.connection is not None and not connection.in_atomic_block
    try:
        behind = position().seconds_behind(connection)
        if behind <= settings.REPLICA_MAX_LAG or not may_reopen:
            return behind
    except Error:
        if not may_reopen:
            raise
    # The cause may be the connection: the file was replaced, or the server was restarted. So a new
    # connection is tried. The old connection is not closed here, because other code may still
    # iterate over one of its cursors.
    other = connection.copy()
    try:
        behind = position().seconds_behind(other)
    finally:
        other.close()
    if behind <= settings.REPLICA_MAX_LAG:
        connection.connection = None  # cursors keep the old connection as long as they need it
    return behind


def answers(connection):
    """Return whether the database answers on this connection. The connection stays open."""
    try:
        position().seconds_behind(connection)
    except Error:
        return False
    return True


def reached(alias, wanted):
    """Return whether the replica has applied the primary's log up to the position ``wanted``."""
    connection = connections[alias]
    try:
        return _is_the_primary(connection) or position().reached(connection, wanted)
    except Error as error:
        skip(alias, error)
        return False


def skip(alias, reason):
    """Skip the replica for ``REPLICA_RETRY`` seconds. Log this once, not at each retry."""
    with _lock:
        news = alias not in _retry_at
        _retry_at[alias] = monotonic() + settings.REPLICA_RETRY
    if news:
        logger.warning(
            "%s is not read from: %s. It is tried again every %s s.",
            alias,
            " ".join(str(reason).split()),
            settings.REPLICA_RETRY,
        )


def _is_due(alias):
    if alias not in _retry_at:
        return True
    with _lock:
        now = monotonic()
        if now < _retry_at.get(alias, 0):
            return False
        # Only one thread tries: if the server does not answer, this may last until the timeout.
        _retry_at[alias] = now + settings.REPLICA_RETRY
    return True


def _is_the_primary(connection):
    """Return whether the entry is that of a primary: in tests with MIRROR, or with one database."""
    return any(same_entry(connection, connections[primary]) for primary in settings.REPLICAS)


def same_entry(connection, other):
    """Return whether both entries in ``DATABASES`` have the same address.

    Two different entries may still lead to the same server: ``positions`` asks the server.
    """
    # On a server, OPTIONS can choose one host of a list, or name a service. On SQLite, OPTIONS do
    # not change which file is opened.
    keys = ADDRESS if connection.vendor == "sqlite" else (*ADDRESS, "OPTIONS")
    its, theirs = connection.settings_dict, other.settings_dict
    return all(its[key] == theirs[key] for key in keys)
