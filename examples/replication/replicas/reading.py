"""Which database a request or a task reads from: a primary, or one of its replicas.

A scope is a request or a task. ``scope()`` opens one, and the middleware in ``consistency`` does so
for each request. Within it, reads go to one replica of a primary, and after a write to the primary
only to a database that has that write. What was written to another primary makes no difference.
Outside any scope reads go to the primary: commands, migrations, and a thread that was started
without more ado, read what is true now.

Writes are noted by ``consistency``, which sees what Django's cursors execute. What writes in
another way says so by ``note_write()``; what nobody has to see at once is in ``unnoted()``.
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

PINNED = "primary"  # in place of a position, when none can be had: no replica has reached it
CHOICE = 0.1  # seconds that a choice stands before the replica is asked again how it is
NO_CHOICE = (object(), None, 0, None)  # as if made after another write, so that it never stands

# The current Scope or None; the demand: use_primary, allow_stale or None; whether writes are noted.
# A context variable, not a thread local: asyncio switches between tasks within a thread, and
# sync_to_async() carries a task over into another thread.
_state = ContextVar("reading", default=(None, None, True))


class Reading:
    """Where one request or task reads the rows of one primary from.

    All threads and tasks of the scope share the object.
    """

    def __init__(self, primary):
        self.primary = primary
        replicas = settings.REPLICAS[primary]
        self.replicas = sample(replicas, len(replicas))  # in order of preference
        self.behind = {}  # the seconds that each replica was behind when it was chosen
        self.last_write = None  # an object of its own for each write
        self.stays = False  # on the primary, to the end of the scope
        self.answered = False  # whether the position has been handed on: a write is too late then
        self.carried = frozenset()  # what was written before: positions
        self._position = (None, None)  # the last write before it was taken, and the position
        self._choices = {}

    def carry(self, positions):
        """Wait for these positions too, which come from another request or task."""
        self.carried |= positions
        self.stays |= PINNED in positions
        if self.last_write:
            self.last_write = object()  # a position that is taken from now on is after all of them
        self._choices = {}

    def note_write(self):
        self.last_write = object()
        if connections[self.primary].in_atomic_block:
            # A position that another thread of this scope takes before the COMMIT is too early.
            connections[self.primary].on_commit(self._note_commit)
        if self.answered:
            self.answered = False  # once is enough
            logger.warning(
                '"%s" was written to after the answer to the request had begun: its user may not '
                "see it at the next read. Call reading.note_write() before.",
                self.primary,
            )

    def _note_commit(self):
        self.last_write = object()

    def position(self):
        """Return what a database must have reached to be read from, or None: any will do."""
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

        ``PINNED``, when it does not say: what it has committed stays so, and no replica is read.
        """
        last_write = self.last_write  # before the primary is asked: another may follow meanwhile
        try:
            position = health.position().written(connections[self.primary])
        except Error as error:
            logger.warning('"%s" does not say its position: %s', self.primary, error)
            position = PINNED
        self._position = (last_write, position)
        return position

    def database(self, since, stale):
        """Return the alias of the replica to read from, or the primary's when none will do."""
        if self.stays and not stale:
            return self.primary
        thread = get_ident()
        last_write, last_since, until, connection = self._choices.get((thread, stale), NO_CHOICE)
        if (
            last_write is self.last_write
            and last_since == since
            and monotonic() < until
            and is_open(connection)  # else to open it may fail
        ):
            return connection.alias
        if in_event_loop():
            # No database can be asked here, not even how far it is: what did a thread choose?
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
                # The others in this scope shall prefer it too.
                self.replicas = [alias, *(other for other in self.replicas if other != alias)]
                return alias
        return self.primary


class Scope(dict):
    """One request or task: the ``Reading`` of each primary of ``REPLICAS``, by its alias."""

    def __init__(self):
        for primary in settings.REPLICAS:
            self[primary] = Reading(primary)

    def carry(self, positions):
        """Wait for these positions too: a dict like that of ``positions()``."""
        for primary, position in positions.items():
            if position and primary in self:
                self[primary].carry({position})

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
    scope, demand, _ = _state.get()
    if not scope or demand is use_primary:
        return primary
    reading = scope.get(primary)  # None: it has no replicas
    if in_transaction(primary):
        if reading and demand is None:
            # The answer is made of one state: what a template reads after the transaction, say.
            reading.stays = True
        return primary
    return reading.database(since, demand is allow_stale) if reading else primary


def note_write(primary=DEFAULT_DB_ALIAS):
    """Say that the current scope writes to the primary in a way that Django's cursors do not see.

    It is called after the write, or within its transaction. Outside any scope it does nothing.
    """
    scope = current()
    if scope and primary in scope:
        scope[primary].note_write()


def are_noted():
    """Return whether writes are noted here: not in ``unnoted()``."""
    return _state.get()[2]


@cache
def is_primary_only(model):
    """Return whether rows of the model are always read from the primary, by the settings."""
    apps = getattr(settings, "REPLICA_PRIMARY_APPS", ["auth", settings.AUTH_USER_MODEL])
    return belongs(model, apps) or belongs(model, unnoted_apps())


def is_from_primary(instance, primary=DEFAULT_DB_ALIAS):
    """Return whether the object was read from the primary, or written: others of its model are not.

    ``instance`` is the hint of that name, or None.
    """
    return (
        instance is not None
        and instance._state.db == primary
        and not is_primary_only(instance._meta.model)
    )


def unnoted_apps():
    return getattr(settings, "REPLICA_UNNOTED_APPS", ["sessions"])


def belongs(model, labels):
    """Return whether the model, or the one whose many-to-many table it is, has one of the labels.

    A label is that of an app, ``"auth"``, or of a model, ``"auth.User"``, in whatever case, as
    ``AUTH_USER_MODEL`` may be.
    """
    meta = (model._meta.auto_created or model)._meta.concrete_model._meta
    labels = {label.lower() for label in labels}
    return meta.app_label.lower() in labels or meta.label_lower in labels


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


def is_open(connection):
    """Return whether there is a connection, which the driver has not closed after an error."""
    opened = connection.connection
    return opened is not None and not getattr(opened, "closed", False)


def in_event_loop():
    try:
        get_running_loop()
    except RuntimeError:
        return False
    return True


def current():
    """Return the current ``Scope``, or None outside any."""
    return _state.get()[0]


class _Block:
    """A context manager, and a decorator of functions, coroutine functions and generators.

    contextlib's decorators would leave the block before a coroutine function has begun. A generator
    has each of its steps in the block, and its caller none; it is for iterating only.
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
    """The scope, the demand and the rest of the place where it is made."""

    def __init__(self):
        self.state = _state.get()

    def __enter__(self):
        return self.enter(*self.state)


def in_steps(iterator):
    """Return an iterator over the same, whose every step reads as one would here and now."""
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
    """As ``in_steps()``, for an asynchronous iterator."""
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
    """A request or a task: its reads go to one replica, and see what it has written.

    ``positions`` is what it shall see besides, by the alias of the primary: what the ``Scope`` of
    the request that the task is for returned from ``positions()``, say. A scope within a scope, as
    of a task that runs at once, is the same: what one writes, the other sees.
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
    """Read from the primary: what is read here has to be true now."""

    def __enter__(self):
        scope, _, noted = _state.get()
        return self.enter(scope, use_primary, noted)


class allow_stale(_Block):
    """Read from a replica, even one that lacks one's own last write; outside any scope too.

    Inside a transaction on a primary, reads of its rows remain its own.
    """

    def __enter__(self):
        scope, _, noted = _state.get()
        return self.enter(Scope() if scope is None else scope, allow_stale, noted)


class unnoted(_Block):
    """Do not note writes: those of a counter, say, that nobody has to see at the next read."""

    def __enter__(self):
        scope, demand, _ = _state.get()
        return self.enter(scope, demand, False)
