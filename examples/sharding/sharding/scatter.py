"""Scatter: query every shard, at the same time where this is faster.

Each shard is queried once, at a slightly different time, so the answers are not one snapshot. The
router gets the hint ``shard``, and may return a replica. If the replica fails, its primary is
queried.
"""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial as bind
from typing import Any, NamedTuple

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connections, router

from sharding import buckets


class ShardDown(Exception):
    """Some shards are unavailable. ``errors`` has the error of each, by its alias."""

    def __init__(self, errors):
        self.errors = errors
        super().__init__(
            "; ".join(f"{alias} is unavailable: {error}" for alias, error in errors.items())
        )


class Partial(NamedTuple):
    """An answer that lacks some shards: ``missing`` has the error of each, by its alias."""

    value: Any
    missing: dict


# Errors by which a server says that it is unavailable. For PostgreSQL, how their SQLSTATE begins.
# For MySQL and MariaDB, their numbers: errors of the client, "too many connections", "shutdown in
# progress", and errors of connecting (user, unknown database, host).
AWAY_STATES = ("08", "53", "57P", "58")
AWAY_NUMBERS = {*range(2000, 2100), 1040, 1044, 1045, 1049, 1053, 1129, 1130, 1203, 1226}
# SQLite's, of its file: it can't be read, is corrupt, can't be opened, or is no database.
AWAY_SQLITE = {10, 11, 14, 26}


def is_away(error):
    """Return whether an error is one of an unavailable database, not of the statement."""
    cause = error.__cause__
    if code := getattr(cause, "sqlite_errorcode", None):
        return code & 0xFF in AWAY_SQLITE
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    if state := getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None):
        return state.startswith(AWAY_STATES)
    number = error.args[0] if error.args else None
    return number in AWAY_NUMBERS if isinstance(number, int) else True


# One thread for each shard, for the whole process. The thread keeps one connection open.
_threads = {}


def _forked():
    _threads.clear()  # after fork(), the child has one thread only


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _thread(alias):
    if alias not in _threads:
        # Two threads may each make a pool here. The one that is not kept ends when idle.
        _threads.setdefault(alias, ThreadPoolExecutor(1, thread_name_prefix=f"gather {alias}"))
    return _threads[alias]


def close(alias):
    """Close the connection that this process's thread for a shard keeps open, if there is one."""
    if alias in _threads:
        _threads[alias].submit(lambda: connections[alias].close()).result()


def _sequential(aliases):
    """Return whether to query one shard after the other, in this thread.

    In a transaction, because other threads are not in it. In a thread of this module, because it
    would wait for itself. With SQLite, because in one process this is faster. Without shards,
    because there is only one database.
    """
    return (
        not settings.SHARDS
        or threading.current_thread().name.startswith("gather ")
        or any(connection.in_atomic_block for connection in connections.all(initialized_only=True))
        or any(connections[alias].vendor == "sqlite" for alias in aliases)
    )


def _ask_in_thread(alias, question, wrappers):
    connection = connections[alias]
    connection.execute_wrappers = wrappers  # wrappers of the calling thread see these queries too
    was_open = connection.connection is not None
    try:
        return question()
    except (DatabaseError, InterfaceError) as error:
        if not is_away(error):
            raise
        connection.close()
        if not was_open:
            raise
        return question()  # the server may have closed the connection since it was last used
    finally:
        connection.execute_wrappers = []


def ask(model, questions, partial):
    """Return ``({shard: answer}, {shard: error})`` to a dict of questions, by shard.

    A question is a function that takes the alias of the database to query.
    """
    aliases = {shard: router.db_for_read(model, shard=shard) for shard in questions}
    found = _ask_databases({alias: bind(questions[s], alias) for s, alias in aliases.items()})
    answers, errors = ({s: a[aliases[s]] for s in aliases if aliases[s] in a} for a in found)
    if again := [shard for shard in errors if aliases[shard] != shard]:
        # The router chose a replica, and it is unavailable.
        more, failed = _ask_databases({shard: bind(questions[shard], shard) for shard in again})
        answers |= more
        errors = {shard: error for shard, error in errors.items() if shard not in again} | failed
    if errors and not partial:
        raise ShardDown(errors)
    return answers, errors


def _ask_databases(questions):
    """Return ``({alias: answer}, {alias: error})`` to a dict of questions: callables, by alias."""
    if _sequential(questions):
        asked = questions
    else:
        asked = {
            alias: _thread(alias)
            .submit(
                copy_context().run,
                _ask_in_thread,
                alias,
                question,
                list(connections[alias].execute_wrappers),
            )
            .result
            for alias, question in questions.items()
        }
    answers, errors = {}, {}
    for alias, question in asked.items():
        try:
            answers[alias] = question()
        except (DatabaseError, InterfaceError) as error:
            if not is_away(error):
                raise
            errors[alias] = error
    return answers, errors


def ask_all(queryset, question, partial):
    """As ``ask()``, with ``question(queryset)`` for each shard's part of the queryset."""
    if queryset._db is not None:
        raise ValueError(
            f'gather queries all shards. Remove using("{queryset._db}") from this queryset.'
        )
    if queryset.query.is_sliced or queryset.query.combinator:
        raise TypeError(
            "gather can't combine slices, nor union(), intersection() or difference(). For a "
            "slice, pass start and stop to gather.top(). Evaluate each part of a union() by itself."
        )
    while True:
        until, shard_map = buckets.leased_map()
        if shard_map.moving:
            # Buckets are moving. Rows that moved after the map was read count on their new shard.
            until, shard_map = time.monotonic() + buckets.LEASE, buckets.read_map()
        questions = {}
        for shard in buckets.shards():
            rows = queryset
            if uncounted := shard_map.uncounted(shard):
                rows = rows.exclude(buckets.in_buckets(uncounted))
            questions[shard] = lambda alias, rows=rows: question(rows.using(alias))
        answers = ask(queryset.model, questions, partial)
        # Rows may have moved to a shard, or been deleted from it, and this map doesn't say so. But
        # a move marks its buckets in the map LEASE seconds before.
        if time.monotonic() < until or buckets.map_version().placement == shard_map.placement:
            return answers
        buckets.forget_map()


def each(queryset, question, *, partial=False):
    """Return ``{alias: question(its part of the queryset)}``.

    ``question`` must evaluate the queryset, because it is called in the thread of that shard.
    """
    return answer(*ask_all(queryset, question, partial), partial)


def answer(value, missing, partial):
    """Return the value, or if ``partial``, a ``Partial``."""
    return Partial(value, missing) if partial else value
