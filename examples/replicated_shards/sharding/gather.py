"""Scatter-gather: ask every shard, and combine the answers into one.

Each function takes a queryset that is bound to no shard. When a shard can't be asked, it raises
``ShardDown``, or if called with ``partial=True``, returns what the others know as ``Partial(value,
missing)``, in which ``missing`` is a dict of errors by the aliases of the shards that it lacks.

Each shard is asked once, of its own time: together the answers are no snapshot. Which of a shard's
databases is asked, the router says, by the hint ``shard``; where a replica fails, its primary is.
"""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cached_property, cmp_to_key
from functools import partial as bind
from heapq import merge
from itertools import islice, pairwise
from typing import Any, NamedTuple

from django.conf import settings
from django.db import InterfaceError, OperationalError, connections, router
from django.db.models import Avg, Count, F, Max, Min, Sum
from django.db.models.expressions import OrderBy
from django.db.models.query import ModelIterable

from sharding import buckets


class ShardDown(Exception):
    """Some shards can't be asked. ``errors`` has the error of each, by its alias."""

    def __init__(self, errors):
        self.errors = errors
        super().__init__(
            "; ".join(f"{alias} can't be asked: {error}" for alias, error in errors.items())
        )


class Partial(NamedTuple):
    value: Any
    missing: dict


# One thread a shard, for all of this process: its connection stays open, and there is one.
_threads = {}


def _forked():
    _threads.clear()  # fork() leaves all threads but one behind


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _thread(alias):
    if alias not in _threads:
        # Two threads that come here at once make two: the one that is not kept ends when idle.
        _threads.setdefault(alias, ThreadPoolExecutor(1, thread_name_prefix=f"gather {alias}"))
    return _threads[alias]


def _sequential(aliases):
    """Return whether to ask one shard after the other, in this thread.

    Inside a transaction, since no other thread is inside it; in a thread of ours, which would wait
    for itself; and with SQLite, since in one process that is the faster way.
    """
    return (
        threading.current_thread().name.startswith("gather ")
        or any(connection.in_atomic_block for connection in connections.all(initialized_only=True))
        or any(connections[alias].vendor == "sqlite" for alias in aliases)
    )


def _ask_in_thread(alias, question, wrappers):
    connection = connections[alias]
    connection.execute_wrappers = wrappers  # whoever listens in the asking thread hears this too
    was_open = connection.connection is not None
    try:
        return question()
    except (OperationalError, InterfaceError):
        connection.close()
        if not was_open:
            raise
        return question()  # the server may have closed the connection since it was last used
    finally:
        connection.execute_wrappers = []


def _ask(model, questions, partial):
    """Return ``({shard: answer}, {shard: error})`` to a dict of questions, by shard.

    A question is a function of the alias of the database to ask.
    """
    aliases = {shard: router.db_for_read(model, shard=shard) for shard in questions}
    found = _ask_databases({alias: bind(questions[s], alias) for s, alias in aliases.items()})
    answers, errors = ({s: a[aliases[s]] for s in aliases if aliases[s] in a} for a in found)
    if again := [shard for shard in errors if aliases[shard] != shard]:
        # A replica that has gone since the router chose it.
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
        except (OperationalError, InterfaceError) as error:
            errors[alias] = error
    return answers, errors


def _ask_all(queryset, question, partial):
    """As ``_ask()``, with ``question(queryset)`` for each shard's part of the queryset."""
    if queryset._db is not None:
        raise ValueError(f"This queryset asks {queryset._db} alone: it has a using().")
    if queryset.query.is_sliced or queryset.query.combinator:
        raise TypeError("A slice or a union of each shard is not one of all shards.")
    while True:
        until, shard_map = buckets.leased_map()
        if shard_map.copies:
            # A move is under way. What moved since that map was read, counts on its new shard.
            until, shard_map = time.monotonic() + buckets.LEASE, buckets.read_map()
        questions = {}
        for shard in settings.SHARDS:
            rows = queryset
            if uncounted := shard_map.uncounted(shard):
                rows = rows.exclude(buckets.in_buckets(uncounted))
            questions[shard] = lambda alias, rows=rows: question(rows.using(alias))
        answers = _ask(queryset.model, questions, partial)
        # Rows may have come to be on a shard, or gone from it, that the map we went by didn't say.
        # But whoever moves them announces it LEASE seconds before.
        if time.monotonic() < until or buckets.map_version().placement == shard_map.placement:
            return answers
        buckets.forget_map()


def each(queryset, question, *, partial=False):
    """Return ``{alias: question(its part of the queryset)}``.

    ``question`` has to evaluate what it is given: it is called in the thread of that shard.
    """
    return _answer(*_ask_all(queryset, question, partial), partial)


def _answer(value, missing, partial):
    return Partial(value, missing) if partial else value


def _of_rows(queryset):
    if not issubclass(queryset._iterable_class, ModelIterable):
        raise TypeError("Two shards may have the same values(): ask for rows.")
    return queryset


def count(queryset, *, partial=False):
    """Return how many rows all shards have."""
    answers, errors = _ask_all(_of_rows(queryset), lambda rows: rows.count(), partial)
    return _answer(sum(answers.values()), errors, partial)


def _parts(name, aggregate):
    """Return the aggregates to ask of each shard, by name, and how to combine their answers.

    The latter takes a dict of lists of the answers, less None: that is what Sum, Min, Max and Avg
    say of no rows.
    """
    if aggregate.distinct or type(aggregate) not in (Count, Sum, Min, Max, Avg):
        what = f"{type(aggregate).__name__}{'(distinct)' if aggregate.distinct else ''}"
        raise TypeError(f"{what} of all rows doesn't follow from the {what} of each shard.")
    if hasattr(aggregate.default, "resolve_expression"):
        raise TypeError("A default has to be a plain value: no database combines the answers.")
    _, args, kwargs = aggregate.deconstruct()
    kwargs.pop("default", None)  # else each shard without rows would put it in
    if isinstance(aggregate, Avg):
        # A mean is not the mean of means.
        parts = {
            f"{name}__{part.__name__}": part(*args, filter=kwargs.get("filter"))
            for part in (Sum, Count)
        }
        total, number = parts

        def combine(answers):
            if not answers[total]:
                return aggregate.default
            return sum_of(answers[total]) / sum(answers[number])
    else:
        parts = {name: type(aggregate)(*args, **kwargs)}
        function = {Count: sum_of, Sum: sum_of, Min: min, Max: max}[type(aggregate)]

        def combine(answers):
            return function(answers[name]) if answers[name] else aggregate.default

    return parts, combine


def sum_of(values):
    first, *rest = values
    return sum(rest, start=first)  # of intervals, too


def aggregate(queryset, *, partial=False, **aggregates):
    """Return a dict, as ``queryset.aggregate(**aggregates)`` would of all shards' rows.

    For Count, Sum, Min, Max and Avg; raises TypeError for others, and for ``distinct=True``.
    """
    asked, combine = {}, {}
    for name, wanted in aggregates.items():
        parts, combine[name] = _parts(name, wanted)
        asked |= parts
    shards, errors = _ask_all(_of_rows(queryset), lambda rows: rows.aggregate(**asked), partial)
    answers = {
        name: [answer[name] for answer in shards.values() if answer[name] is not None]
        for name in asked
    }
    return _answer({name: combine[name](answers) for name in aggregates}, errors, partial)


def in_bulk(queryset, keys, *, partial=False):
    """Return a dict of rows by their keys, asking only the shards that have such keys."""
    groups = {}
    for key in filter(buckets.is_key, keys):
        groups.setdefault(buckets.alias_of(buckets.bucket_of(key)), []).append(key)
    questions = {
        shard: lambda alias, keys=keys: queryset.using(alias).in_bulk(keys)
        for shard, keys in groups.items()
    }
    answers, errors = _ask(queryset.model, questions, partial)
    return _answer(
        {key: row for answer in answers.values() for key, row in answer.items()}, errors, partial
    )


def _order(queryset):
    """Return the expressions that a queryset is ordered by, and the key in the end."""
    order = queryset.query.order_by or queryset.model._meta.ordering
    expressions = []
    for field in [*order, "pk"]:
        if field == "?":
            raise TypeError("No two shards throw the same dice: order by something else than '?'.")
        if isinstance(field, str):
            field = OrderBy(F(field.removeprefix("-")), descending=field.startswith("-"))
        elif not isinstance(field, OrderBy):
            field = field.asc() if hasattr(field, "asc") else OrderBy(field)
        expressions.append(field.copy())
    if not queryset.query.standard_ordering:
        for field in expressions:
            field.reverse_ordering()
    return expressions


def _comparison(order):
    """Return a key function that sorts ``(values to sort by, row)`` as the database does."""
    largest = connections[settings.SHARDS[0]].features.nulls_order_largest
    nulls_first = [
        bool(field.nulls_first or (not field.nulls_last and largest == field.descending))
        for field in order
    ]

    def compare(a, b):
        for x, y, field, first in zip(a[0], b[0], order, nulls_first, strict=True):
            if x != y:
                if x is None or y is None:
                    return -1 if (x is None) == first else 1
                return -1 if (x < y) != field.descending else 1
        return 0

    return cmp_to_key(compare)


def top(queryset, stop=None, start=0, *, partial=False):
    """Return the rows from ``start`` to ``stop``, less one, of all shards', in their order.

    Each shard is asked for its first ``stop`` rows (None: all): the further down, the slower.
    Raises ValueError if a database sorts text otherwise than Python does, since then the rows of
    two shards could not be merged.
    """
    order = _order(_of_rows(queryset))
    names = [f"_order_{number}" for number in range(len(order))]
    ordered = queryset.annotate(
        **{name: field.expression for name, field in zip(names, order, strict=True)}
    )
    ordered.query.standard_ordering = True  # the expressions are turned round already
    ordered = ordered.order_by(*order)

    def first_rows(rows):
        return [([vars(row).pop(name) for name in names], row) for row in rows[:stop]]

    answers, errors = _ask_all(ordered, first_rows, partial)
    key = _comparison(order)
    for alias, rows in answers.items():
        if any(key(after) < key(before) for before, after in pairwise(rows)):
            raise ValueError(
                f"{alias} doesn't sort as Python does: give the column the collation C."
            )
    merged = islice(merge(*answers.values(), key=key), start, stop)
    return _answer([row for _, row in merged], errors, partial)


class AllRows:
    """The rows of all shards, in the queryset's order, for a Paginator.

    With ``partial``, ``missing`` has the errors of the shards that could not be asked.
    """

    def __init__(self, queryset, partial=False):
        self.queryset = queryset
        self.partial = partial
        self.missing = {}

    @cached_property
    def _count(self):
        return self._note(count(self.queryset, partial=self.partial))

    def count(self):
        return self._count

    __len__ = count

    def __getitem__(self, part):
        rows = len(self)
        start, stop, _ = part.indices(rows)
        if start <= rows - stop:
            return self._note(top(self.queryset, stop, start, partial=self.partial))
        # Nearer to the end: from there.
        backwards = top(self.queryset.reverse(), rows - start, rows - stop, partial=self.partial)
        return self._note(backwards)[::-1]

    def _note(self, answer):
        if self.partial:
            self.missing |= answer.missing
            return answer.value
        return answer
