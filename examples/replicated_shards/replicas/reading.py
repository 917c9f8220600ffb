"""Which database a request or a task reads from: a primary, or one of its replicas.

A scope is a request or a task. ``scope()`` opens a scope, and the middleware in ``consistency``
opens a scope for each request. Within a scope, reads go to one replica of a primary. After a write
to this primary, they go only to a database that has the write. A write to another primary changes
nothing. Outside any scope, reads go to the primary. So commands, migrations and threads that are
started without a scope read the current data.

``consistency`` detects the writes that Django's cursors execute. Code that writes in another way
calls ``note_write()``. A write that no user has to see at once can be made in ``unnoted()``.
"""

from asyncio import get_running_loop
from contextvars import ContextVar
from copy import copy
from functools import cache, wraps
from inspect import isasyncgenfunction, isgeneratorfunction
from logging import getLogger
from random import sample
from threading import get_ident, local
from time import monotonic

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, Error, connections

from replicas import health

logger = getLogger("replicas")

PINNED = "primary"  # instead of a position that is unknown: read from the primary
CHOICE = 0.1  # seconds that a choice is kept before the replica is checked again
NO_CHOICE = (object(), None, 0, None)  # as if made after another write, so it is never valid

# A tuple: the current Scope or None; the demand, which is use_primary, allow_stale or None; whether
# writes are noted. A context variable, not a thread local, because asyncio runs many tasks in one
# thread, and sync_to_async() continues a task in another thread.
_state = ContextVar("reading", default=(None, None, True))


class Reading:
    """The database that one request or task reads the rows of one primary from.

    All threads and tasks of the scope share this object.
    """

    def __init__(self, primary):
        self.primary = primary
        replicas = settings.REPLICAS[primary]
        self.replicas = sample(replicas, len(replicas))  # in order of preference
        self.behind = {}  # the seconds that each replica was behind when it was chosen
        self.last_write = None  # a new object for each write
        self.stays = False  # True: reads stay on the primary until the scope ends
        self.answered = False  # True: the position has been sent, so a write comes too late
        self.carried = frozenset()  # the positions of earlier writes, from other scopes
        self._position = (None, None)  # a position, after the last write that it includes
        self._choices = {}

    def carry(self, positions):
        """Require these positions too, which come from another request or task."""
        self.carried |= positions
        self.stays |= PINNED in positions
        if self.last_write:
            self.last_write = object()  # a position that is read from now on is after all of them
        self._choices = {}

    def note_write(self):
        self.last_write = object()
        if connections[self.primary].in_atomic_block:
            # Another thread of this scope may read the position before the COMMIT: too early.
            connections[self.primary].on_commit(self._note_commit)
        if self.answered:
            self.answered = False  # log this once
            logger.warning(
                'A write to "%s" came after the response had started, so the user may not see it '
                "at the next read. Call reading.note_write() before the response starts.",
                self.primary,
            )

    def _note_commit(self):
        self.last_write = object()

    def position(self):
        """Return the position that a database must have reached, or None for any database."""
        if PINNED in self.carried:
            return PINNED
        if self.last_write:
            last_write, position = self._position
            return position if last_write is self.last_write else self.take_position()
        if len(self.carried) > 1:
            self.carried = frozenset([self.take_position()])
        return next(iter(self.carried), None)

    def take_position(self):
        """Return the primary's position: all that this scope has committed is at or before it.

        Return ``PINNED`` if the position cannot be read. The commits stay valid, and reads go to
        the primary.
        """
        last_write = self.last_write  # first: another write may follow while the primary answers
        try:
            position = health.position().written(connections[self.primary])
        except Error as error:
            logger.warning('The position of "%s" cannot be read: %s', self.primary, error)
            position = PINNED
        self._position = (last_write, position)
        return position

    def database(self, since, stale):
        """Return the alias of a suitable replica, or of the primary if no replica is suitable."""
        if self.stays and not stale:
            return self.primary
        thread = get_ident()
        last_write, last_since, until, connection = self._choices.get((thread, stale), NO_CHOICE)
        if (
            last_write is self.last_write
            and last_since == since
            and monotonic() < until
            and is_open(connection)  # opening it could fail
        ):
            return connection.alias
        if in_event_loop():
            # No query can be made here, so no replica can be checked. Use a thread's choice.
            last_write, last_since, _, connection = self._choices.get(stale, NO_CHOICE)
            stands = last_write is self.last_write and last_since == since
            return connection.alias if stands else self.primary
        last_write = self.last_write
        alias = self._choose({since, *([] if stale else self._needed())} - {None})
        choice = last_write, since, monotonic() + CHOICE, connections[alias]
        self._choices[thread, stale] = self._choices[stale] = choice
        return alias

    def _needed(self):
        return [self.position()] if self.last_write else self.carried

    def _choose(self, positions):
        if PINNED in positions:
            return self.primary
        for alias in self.replicas:
            behind = health.seconds_behind(alias)
            if behind is not None and all(health.reached(alias, p) for p in positions):
                self.behind[alias] = behind
                # Other threads of this scope try this replica first too.
                self.replicas = [alias, *(other for other in self.replicas if other != alias)]
                return alias
        return self.primary


class Scope(dict):
    """One request or task: the ``Reading`` of each primary of ``REPLICAS``, by its alias."""

    def __init__(self):
        for primary in settings.REPLICAS:
            self[primary] = Reading(primary)

    def carry(self, positions):
        """Require these positions too. They are a dict such as ``positions()`` returns."""
        for primary, position in positions.items():
            if position and primary in self:
                self[primary].carry({position})

    def positions(self):
        """Return the argument of ``scope()`` for a task that must see the writes of this scope.

        It is a dict of strings, by the alias of a primary. Primaries for which no position is
        required are left out.
        """
        positions = {primary: reading.position() for primary, reading in self.items()}
        return {primary: position for primary, position in positions.items() if position}


def database(primary=DEFAULT_DB_ALIAS, since=None):
    """Return the alias of the database to read from now: the primary or a replica.

    ``since`` is a position that the replica must have reached, even in ``allow_stale()``. None
    requires no position.
    """
    scope, demand, _ = _state.get()
    if not scope or demand is use_primary:
        return primary
    reading = scope.get(primary)  # None: this primary has no replicas
    if in_transaction(primary):
        if reading and demand is None:
            # The response needs one state of the data, for example if its template reads later.
            reading.stays = True
        return primary
    return reading.database(since, demand is allow_stale) if reading else primary


def note_write(primary=DEFAULT_DB_ALIAS):
    """Record a write to the primary in the current scope, if Django's cursors did not execute it.

    Call this after the write, or within its transaction. Outside any scope it does nothing.
    """
    scope = current()
    if scope and primary in scope:
        scope[primary].note_write()


def are_noted():
    """Return whether writes are noted: they are not noted in ``unnoted()``."""
    return _state.get()[2]


@cache
def is_primary_only(model):
    """Return whether, by the settings, rows of the model are always read from the primary."""
    apps = getattr(settings, "REPLICA_PRIMARY_APPS", ["auth", settings.AUTH_USER_MODEL])
    return belongs(model, apps) or belongs(model, unnoted_apps())


def is_from_primary(instance, primary=DEFAULT_DB_ALIAS):
    """Return whether the object was read from the primary, or written to the primary.

    Models that are always read from the primary do not count. ``instance`` is the hint, or None.
    """
    return (
        instance is not None
        and instance._state.db == primary
        and not is_primary_only(instance._meta.model)
    )


def unnoted_apps():
    return getattr(settings, "REPLICA_UNNOTED_APPS", ["sessions"])


def belongs(model, labels):
    """Return whether one of the labels is that of the model.

    For the table of a many-to-many field, the model with the field counts. A label is the label of
    an app, such as ``"auth"``, or of a model, such as ``"auth.User"``. Upper and lower case do not
    matter, as in ``AUTH_USER_MODEL``.
    """
    # What DatabaseCache passes is no model, and lacks these two attributes.
    model = getattr(model._meta, "auto_created", None) or model
    meta = getattr(model._meta, "concrete_model", model)._meta
    names = {meta.app_label.lower(), f"{meta.app_label}.{meta.model_name}".lower()}
    return not names.isdisjoint(label.lower() for label in labels)


class _Thread(local):
    """This thread's connections to primaries, because ``connections[primary]`` is slow."""

    def __init__(self):
        self.connections = {}


_thread = _Thread()


def in_transaction(primary):
    """Return whether this thread is in a transaction on the primary, and must read there."""
    try:
        connection = _thread.connections[primary]
    except KeyError:
        connection = _thread.connections[primary] = connections[primary]
    # Either in atomic(), or with autocommit off.
    return connection.in_atomic_block or not (
        connection.autocommit or connection.connection is None
    )


def is_open(connection):
    """Return whether the connection is open: the driver may close it after an error."""
    opened = connection.connection
    return opened is not None and not getattr(opened, "closed", False)


def in_event_loop():
    try:
        get_running_loop()
    except RuntimeError:
        return False
    return True


def current():
    """Return the current ``Scope``, or None outside any scope."""
    return _state.get()[0]


class _Block:
    """A context manager, and a decorator of functions, coroutine functions and generators.

    contextlib's decorators would leave the block before a coroutine function has started. Each step
    of a generator runs in the block, and the code between the steps does not. Such a generator can
    only be iterated over, without ``send()``.
    """

    def __call__(self, function):
        steps = (
            in_steps
            if isgeneratorfunction(function)
            else in_async_steps
            if isasyncgenfunction(function)
            else None
        )
        if steps:

            @wraps(function)
            def wrapper(*args, **kwargs):
                with copy(self):
                    return steps(function(*args, **kwargs))

        elif iscoroutinefunction(function):

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

    def enter(self, scope, demand, noted):
        self._before = _state.get()
        _state.set((scope, demand, noted))
        return scope

    def __exit__(self, *exception):
        _state.set(self._before)


class _AsHere(_Block):
    """The state of ``_state`` at the place where this object is made."""

    def __init__(self):
        self.state = _state.get()

    def __enter__(self):
        return self.enter(*self.state)


def in_steps(iterator):
    """Return an iterator over the same items. Each step reads as the caller reads now."""
    here = _AsHere()

    def steps():
        while True:
            with here:
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    return steps()


def in_async_steps(iterator):
    """Do the same as ``in_steps()``, for an asynchronous iterator."""
    here = _AsHere()

    async def steps():
        while True:
            with here:
                try:
                    item = await anext(iterator)
                except StopAsyncIteration:
                    return
            yield item

    return steps()


class scope(_Block):
    """A request or a task: its reads go to one replica, and see its own writes.

    The reads also see the writes up to ``positions``, a dict by the alias of the primary. For
    example, a task gets the ``positions()`` of the ``Scope`` of its request. A scope within a scope
    is the same scope, for example that of a task that runs at once: each sees the other's writes.
    """

    def __init__(self, positions=None):
        self.positions = positions or {}

    def __enter__(self):
        scope, _, noted = _state.get()
        if scope is None:
            scope = Scope()
        scope.carry(self.positions)
        return self.enter(scope, None, noted)


class use_primary(_Block):
    """Read from the primary, because the code needs the current data."""

    def __enter__(self):
        scope, _, noted = _state.get()
        return self.enter(scope, use_primary, noted)


class allow_stale(_Block):
    """Read from a replica, even if it lacks the user's own last write. Works outside scopes too.

    In a transaction on a primary, reads of its rows still go to the primary.
    """

    def __enter__(self):
        scope, _, noted = _state.get()
        return self.enter(Scope() if scope is None else scope, allow_stale, noted)


class unnoted(_Block):
    """Do not note writes that no user has to see at the next read, for example of a counter."""

    def __enter__(self):
        scope, demand, _ = _state.get()
        return self.enter(scope, demand, False)
