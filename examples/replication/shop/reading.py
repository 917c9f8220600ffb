"""Which database a request or a task reads from.

A scope is a request or a task. ``scope()`` opens one, and the middleware in ``shop/consistency.py``
does so for each request. Within it, reads go to one replica, and after a write only to a database
that has that write. Outside any scope they go to the primary: commands, migrations, and a thread
that was started without more ado, read what is true now.
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

from shop import replicas

PRIMARY = DEFAULT_DB_ALIAS
CHOICE = 0.1  # seconds that a choice stands before the replica is asked again how it is
NO_CHOICE = (object(), 0, None)  # as if made after another write, so that it never stands

# Context variables, not thread locals: asyncio switches between tasks within a thread, and
# sync_to_async() carries a task over into another thread.
_reading = ContextVar("reading", default=None)  # the scope's Reading
_demand = ContextVar("demand", default=None)  # use_primary, allow_stale or None


class Reading:
    """Where one request or task reads from. All its threads and tasks share the object."""

    def __init__(self, position=None):
        self.replicas = sample(settings.REPLICAS, len(settings.REPLICAS))  # in order of preference
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
        self._position = (last_write, replicas.position().written(connections[PRIMARY]))
        return self._position[1]

    def database(self, stale):
        """Return the alias of the replica to read from, or the primary's when none will do."""
        thread = get_ident()
        last_write, until, connection = self._choices.get((thread, stale), NO_CHOICE)
        if (
            last_write is self.last_write
            and monotonic() < until
            and connection.connection is not None  # else to open it may fail
        ):
            return connection.alias
        if in_event_loop():
            # No database can be asked here, not even how far it is: what did a thread choose?
            last_write, _, connection = self._choices.get(stale, NO_CHOICE)
            return connection.alias if last_write is self.last_write else PRIMARY
        last_write = self.last_write
        alias = self._choose(None if stale else self.position())
        choice = last_write, monotonic() + CHOICE, connections[alias]
        self._choices[thread, stale] = self._choices[stale] = choice
        return alias

    def _choose(self, position):
        for alias in self.replicas:
            behind = replicas.seconds_behind(alias)
            if behind is not None and (position is None or replicas.reached(alias, position)):
                self.behind[alias] = behind
                # The others in this scope shall prefer it too.
                self.replicas = [alias, *(other for other in self.replicas if other != alias)]
                return alias
        return PRIMARY


def database():
    """Return the alias of the database to read from, here and now."""
    reading, demand = _reading.get(), _demand.get()
    if reading is None or demand is use_primary or in_transaction():
        return PRIMARY
    return reading.database(stale=demand is allow_stale)


class _Thread(local):
    """This thread's connection to the primary: ``connections[PRIMARY]`` is a slow way to ask."""

    def __init__(self):
        self.primary = connections[PRIMARY]


_thread = _Thread()


def in_transaction():
    """Return whether this thread is in a transaction on the primary: its reads belong there."""
    primary = _thread.primary
    # Either in atomic(), or with autocommit switched off by hand.
    return primary.in_atomic_block or not (primary.autocommit or primary.connection is None)


def in_event_loop():
    try:
        get_running_loop()
    except RuntimeError:
        return False
    return True


def current():
    """Return the ``Reading`` of the current scope, or None outside any."""
    return _reading.get()


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

    def enter(self, reading, demand):
        self._before = _reading.get(), _demand.get()
        _reading.set(reading)
        _demand.set(demand)
        return reading

    def __exit__(self, *exception):
        reading, demand = self._before
        _reading.set(reading)
        _demand.set(demand)


class scope(_Block):
    """A request or a task: its reads go to one replica, and see what it has written.

    ``position`` is what it shall see besides: that of the request, say, that the task is for.
    """

    def __init__(self, position=None):
        self.position = position

    def __enter__(self):
        return self.enter(Reading(self.position), None)


class use_primary(_Block):
    """Read from the primary: what is read here has to be true now."""

    def __enter__(self):
        return self.enter(_reading.get(), use_primary)


class allow_stale(_Block):
    """Read from a replica, even one that lacks one's own last write; outside any scope too.

    Inside a transaction on the primary, reads remain its own.
    """

    def __enter__(self):
        return self.enter(_reading.get() or Reading(), allow_stale)
