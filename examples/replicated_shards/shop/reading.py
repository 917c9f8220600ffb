"""Which database of a shard a request or a task reads from: its primary, or one of its replicas.

A scope is a request or a task. ``scope()`` opens one, and the middleware in ``shop/consistency.py``
does so for each request. Within it, reads of a shard go to one of that shard's replicas, and after
a write to the shard only to a database that has that write; what was written to another shard makes
no difference. Outside any scope reads go to the primary: commands, migrations, and a thread that
was started without more ado, read what is true now.

A replica has to have one thing more, even for ``allow_stale()``: what has been moved to the shard,
or away from it, as far as the shard map says so. The router tells from which position on it has.
"""

from contextlib import contextmanager
from contextvars import ContextVar
from random import sample
from threading import get_ident
from time import monotonic

from django.conf import settings
from django.db import connections

from shop import replicas

CHOICE = 0.1  # seconds that a choice stands before the replica is asked again how it is
NO_CHOICE = (object(), None, 0, None)  # as if made after another write, so that it never stands

# Context variables, not thread locals: copy_context() takes them along into another thread.
_scope = ContextVar("scope", default=None)  # the Readings of the scope
_demand = ContextVar("demand", default=None)  # PRIMARY, STALE or None
PRIMARY, STALE = "primary", "stale"


class Reading:
    """Where one request or task reads one shard from. All its threads share the object."""

    def __init__(self, primary, position=None):
        self.primary = primary
        self.replicas = sample(settings.REPLICAS[primary], len(settings.REPLICAS[primary]))
        self.behind = {}  # the seconds that each replica was behind when it was chosen
        self.last_write = None  # an object of its own for each write
        self._position = (None, position)  # the last write before it was taken, and the position
        self._choices = {}

    def note_write(self):
        self.last_write = object()

    def position(self):
        """Return what a database must have reached to be read from, or None: any will do."""
        return self._position[1] if self._position[0] is self.last_write else self.take_position()

    def take_position(self):
        """Return the primary's position: all that this scope has committed is at or before it."""
        last_write = self.last_write  # before the primary is asked: another may follow meanwhile
        self._position = (last_write, replicas.position().written(connections[self.primary]))
        return self._position[1]

    def database(self, since, stale):
        """Return the alias of the replica to read from, or the primary's when none will do."""
        key = get_ident(), stale
        last_write, last_since, until, connection = self._choices.get(key, NO_CHOICE)
        if (
            (last_write, last_since) == (self.last_write, since)
            and monotonic() < until
            and connection.connection is not None  # else to open it may fail
        ):
            return connection.alias
        last_write = self.last_write
        alias = self._choose({since, None if stale else self.position()} - {None})
        self._choices[key] = last_write, since, monotonic() + CHOICE, connections[alias]
        return alias

    def _choose(self, positions):
        for alias in self.replicas:
            behind = replicas.seconds_behind(alias)
            if behind is not None and all(replicas.reached(alias, p) for p in positions):
                self.behind[alias] = behind
                # The others in this scope shall prefer it too.
                self.replicas = [alias, *(other for other in self.replicas if other != alias)]
                return alias
        return self.primary


def database(primary, since):
    """Return the alias of the database to read from, here and now: the primary's, or a replica's.

    ``since`` is the position that a replica has to have reached, whoever reads, or None.
    """
    readings, demand = _scope.get(), _demand.get()
    if readings is None or demand is PRIMARY or in_transaction(primary):
        return primary
    return readings[primary].database(since, stale=demand is STALE)


def in_transaction(primary):
    """Return whether this thread is in a transaction on the primary: its reads belong there."""
    connection = connections[primary]
    # Either in atomic(), or with autocommit switched off by hand.
    return connection.in_atomic_block or not (
        connection.autocommit or connection.connection is None
    )


def current():
    """Return the scope's dict of ``Reading`` by the primary's alias; outside any, an empty one."""
    return _scope.get() or {}


@contextmanager
def _set(readings, demand):
    tokens = _scope.set(readings), _demand.set(demand)
    try:
        yield readings
    finally:
        _scope.reset(tokens[0])
        _demand.reset(tokens[1])


def new_readings(positions):
    return {primary: Reading(primary, positions.get(primary)) for primary in settings.REPLICAS}


@contextmanager
def scope(positions=None):
    """A request or a task: its reads of a shard go to one replica, and see what it has written.

    ``positions`` is what it shall see besides, by the primary's alias: that of the request, say,
    that the task is for.
    """
    with _set(new_readings(positions or {}), None) as readings:
        yield readings


@contextmanager
def use_primary():
    """Read from the primaries: what is read here has to be true now."""
    with _set(_scope.get(), PRIMARY):
        yield


@contextmanager
def allow_stale():
    """Read from replicas, even ones that lack one's own last write; outside any scope too.

    Inside a transaction on a primary, reads of that shard remain its own.
    """
    with _set(_scope.get() or new_readings({}), STALE):
        yield
