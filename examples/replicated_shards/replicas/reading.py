"""Which database a request or a task reads from: a primary, or one of its replicas.

A scope is a request or a task. ``scope()`` opens one, and the middleware in ``consistency`` does so
for each request. Within it, reads go to one replica of a primary, and after a write to the primary
only to a database that has that write. What was written to another primary makes no difference.
Outside any scope reads go to the primary: commands, migrations, and a thread that was started
without more ado, read what is true now.
"""

from asyncio import get_running_loop
from contextvars import ContextVar
from copy import copy
from functools import wraps
from random import sample
from threading import get_ident, local
from time import monotonic

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections

from replicas import health

CHOICE = 0.1  # seconds that a choice stands before the replica is asked again how it is
NO_CHOICE = (object(), None, 0, None)  # as if made after another write, so that it never stands

# Context variables, not thread locals: asyncio switches between tasks within a thread, and
# sync_to_async() carries a task over into another thread.
_scope = ContextVar("scope", default=None)  # the current Scope
_demand = ContextVar("demand", default=None)  # use_primary, allow_stale or None


class Reading:
    """Where one request or task reads the rows of one primary from.

    All threads and tasks of the scope share the object.
    """

    def __init__(self, primary, position=None):
        self.primary = primary
        replicas = settings.REPLICAS[primary]
        self.replicas = sample(replicas, len(replicas))  # in order of preference
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
        self._position = (last_write, health.position().written(connections[self.primary]))
        return self._position[1]

    def database(self, since, stale):
        """Return the alias of the replica to read from, or the primary's when none will do."""
        thread = get_ident()
        last_write, last_since, until, connection = self._choices.get((thread, stale), NO_CHOICE)
        if (
            last_write is self.last_write
            and last_since == since
            and monotonic() < until
            and connection.connection is not None  # else to open it may fail
        ):
            return connection.alias
        if in_event_loop():
            # No database can be asked here, not even how far it is: what did a thread choose?
            last_write, last_since, _, connection = self._choices.get(stale, NO_CHOICE)
            stands = last_write is self.last_write and last_since == since
            return connection.alias if stands else self.primary
        last_write = self.last_write
        alias = self._choose({since, None if stale else self.position()} - {None})
        choice = last_write, since, monotonic() + CHOICE, connections[alias]
        self._choices[thread, stale] = self._choices[stale] = choice
        return alias

    def _choose(self, positions):
        for alias in self.replicas:
            behind = health.seconds_behind(alias)
            if behind is not None and all(health.reached(alias, p) for p in positions):
                self.behind[alias] = behind
                # The others in this scope shall prefer it too.
                self.replicas = [alias, *(other for other in self.replicas if other != alias)]
                return alias
        return self.primary


class Scope(dict):
    """One request or task: the ``Reading`` of each primary of ``REPLICAS``, by its alias."""

    def __init__(self, positions):
        for primary in settings.REPLICAS:
            self[primary] = Reading(primary, positions.get(primary))

    def positions(self):
        """Return what ``scope()`` has to be given for a task that shall see what this one does.

        That is a dict of text by the alias of a primary, without those that nobody has to wait for.
        """
        positions = {primary: reading.position() for primary, reading in self.items()}
        return {primary: position for primary, position in positions.items() if position}


def database(primary=DEFAULT_DB_ALIAS, since=None):
    """Return the alias of the database to read from, here and now: the primary's, or a replica's.

    ``since`` is a position that a replica has to have reached, whoever reads, even one who allows
    stale reads. None asks for nothing.
    """
    scope, demand = _scope.get(), _demand.get()
    if not scope or demand is use_primary or in_transaction(primary):
        return primary
    reading = scope.get(primary)  # None: it has no replicas
    return reading.database(since, demand is allow_stale) if reading else primary


class _Thread(local):
    """This thread's connections to primaries: ``connections[primary]`` is a slow way to ask."""

    def __init__(self):
        self.connections = {}


_thread = _Thread()


def in_transaction(primary):
    """Return whether this thread is in a transaction on the primary: its reads belong there."""
    try:
        connection = _thread.connections[primary]
    except KeyError:
        connection = _thread.connections[primary] = connections[primary]
    # Either in atomic(), or with autocommit switched off by hand.
    return connection.in_atomic_block or not (
        connection.autocommit or connection.connection is None
    )


def in_event_loop():
    try:
        get_running_loop()
    except RuntimeError:
        return False
    return True


def current():
    """Return the current ``Scope``, or None outside any."""
    return _scope.get()


class _Block:
    """A context manager, and a decorator of functions and of coroutine functions.

    contextlib's decorators would leave the block before a coroutine function has begun.
    """

    def __call__(self, function):
        if iscoroutinefunction(function):

            @wraps(function)
            async def wrapper(*args, **kwargs):
                with copy(self):
                    return await function(*args, **kwargs)

        else:

            @wraps(function)
            def wrapper(*args, **kwargs):
                with copy(self):
                    return function(*args, **kwargs)

        return wrapper

    def enter(self, scope, demand):
        self._before = _scope.get(), _demand.get()
        _scope.set(scope)
        _demand.set(demand)
        return scope

    def __exit__(self, *exception):
        scope, demand = self._before
        _scope.set(scope)
        _demand.set(demand)


class scope(_Block):
    """A request or a task: its reads go to one replica, and see what it has written.

    ``positions`` is what it shall see besides, by the alias of the primary: what the ``Scope`` of
    the request that the task is for returned from ``positions()``, say.
    """

    def __init__(self, positions=None):
        self.positions = positions or {}

    def __enter__(self):
        return self.enter(Scope(self.positions), None)


class use_primary(_Block):
    """Read from the primary: what is read here has to be true now."""

    def __enter__(self):
        return self.enter(_scope.get(), use_primary)


class allow_stale(_Block):
    """Read from a replica, even one that lacks one's own last write; outside any scope too.

    Inside a transaction on a primary, reads of its rows remain its own.
    """

    def __enter__(self):
        return self.enter(_scope.get() or Scope({}), allow_stale)
