"""Which replicas are fit to be read from."""

import logging
from math import isfinite
from threading import Lock
from time import monotonic

from django.conf import settings
from django.db import Error, connections
from django.utils.module_loading import import_string

logger = logging.getLogger("replicas")

ADDRESS = ("NAME", "HOST", "PORT")

_retry_at = {}  # the replicas that are skipped, and the ``monotonic()`` time to try each again
_lock = Lock()


def position():
    """Return the object that knows how positions are read: see ``positions``."""
    return import_string(settings.REPLICA_POSITION)()


def seconds_behind(alias):
    """Return how many seconds the replica is behind, or None while it is not fit to be read from.

    It is not fit when it is missing, broken, or more than ``REPLICA_MAX_LAG`` seconds behind. Then
    it is skipped for ``REPLICA_RETRY`` seconds, by the whole process, before it is tried again.
    """
    if not _is_due(alias):
        return None
    try:
        behind = _measure(connections[alias])
    except Error as error:
        skip(alias, error)
        return None
    if behind > settings.REPLICA_MAX_LAG:
        known = isfinite(behind)
        skip(
            alias, f"it is {behind:.0f} s behind" if known else "it can't say how far behind it is"
        )
        return None
    if _retry_at.pop(alias, None):
        # A warning too, for those who saw the first.
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
    # It may be the connection that is at fault: to a file that has been replaced since, or to a
    # server that has been restarted. So another one is asked. This one is never closed here:
    # somebody may be iterating over a cursor of it.
    other = connection.copy()
    try:
        behind = position().seconds_behind(other)
    finally:
        other.close()
    if behind <= settings.REPLICA_MAX_LAG:
        connection.connection = None  # its cursors keep the old one, for as long as they need it
    return behind


def answers(connection):
    """Return whether the database answers on this connection, which is not closed for it."""
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
    """Read from others for ``REPLICA_RETRY`` seconds. It is logged once, not at each retry."""
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
        # One at a time tries: to find that a server is away may take until the timeout.
        _retry_at[alias] = now + settings.REPLICA_RETRY
    return True


def _is_the_primary(connection):
    """Return whether this is a primary by another name: a test's MIRROR, or a site with one."""
    return any(same_entry(connection, connections[primary]) for primary in settings.REPLICAS)


def same_entry(connection, other):
    """Return whether the entries of both in ``DATABASES`` lead to one database.

    Where they don't, they may lead to one all the same: ``positions`` asks a server that can tell.
    """
    # A host of a list is chosen by OPTIONS, and a service is named there. SQLite's are of no place.
    keys = ADDRESS if connection.vendor == "sqlite" else (*ADDRESS, "OPTIONS")
    its, theirs = connection.settings_dict, other.settings_dict
    return all(its[key] == theirs[key] for key in keys)
