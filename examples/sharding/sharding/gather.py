"""Scatter-gather: query every shard, and combine the answers into one.

Each function takes a queryset that is bound to no shard. If a shard is unavailable, the function
raises ``ShardDown``. With ``partial=True`` it returns the answer of the other shards, as
``Partial(value, missing)``. ``missing`` is a dict of the errors, by the aliases of the shards.
"""

from functools import cached_property, cmp_to_key
from heapq import merge
from itertools import islice

from django.db import connections, models
from django.db.models import Avg, Count, F, Max, Min, Sum
from django.db.models.expressions import Col, OrderBy
from django.db.models.functions import Collate
from django.db.models.query import ModelIterable

from sharding.buckets import as_mapped, by_alias, shards
from sharding.keys import bucket_of, is_key
from sharding.scatter import Partial, ShardDown, answer, ask, ask_all, each

__all__ = [
    "AllRows", "Partial", "ShardDown", "aggregate", "count", "each", "in_bulk", "top"
]  # fmt: skip


def _of_rows(queryset):
    if not issubclass(queryset._iterable_class, ModelIterable):
        raise TypeError(
            "gather can't combine values() or values_list(), because two shards may return "
            "the same value. Pass a queryset of model instances, or combine the answers of "
            "gather.each()."
        )
    query = queryset.query
    if query.distinct_fields:
        raise TypeError(
            "gather can't combine distinct(…) with field names, because two shards may return the "
            "same value. Remove it, or combine the answers of gather.each()."
        )
    if query.where.contains_over_clause or any(
        expression.contains_over_clause for expression in query.annotations.values()
    ):
        raise TypeError(
            "gather can't combine a Window, because each shard computes it over its own rows only. "
            "Remove it, and compute the value in Python."
        )
    return queryset


# The collations with which an engine sorts text as Python does: by code points. (SQLite does so by
# default.) ``by_code_points()`` uses the first; on MySQL, which doesn't have it, the second.
CODE_POINTS = {
    "sqlite": ["BINARY"],
    "postgresql": ["C", "POSIX", "ucs_basic"],
    "mysql": ["utf8mb4_nopad_bin", "utf8mb4_0900_bin"],
}
SORTED_ALIKE = (
    models.IntegerField, models.FloatField, models.DecimalField, models.BooleanField,
    models.DateField, models.TimeField, models.DurationField,
)  # fmt: skip


def _collation(expression):
    """Return the collation that an expression names, or a column in it, or None."""
    if isinstance(expression, Collate):
        return expression.collation
    if isinstance(expression, Col):
        return getattr(expression.target, "db_collation", None)
    found = {_collation(part) for part in expression.get_source_expressions() if part is not None}
    return next(iter(found - {None}), None)


def sorts_alike(expression):
    """Return whether each shard sorts the values of a resolved expression as Python does."""
    field = getattr(expression.output_field, "target_field", expression.output_field)
    vendors = {connections[alias].vendor for alias in shards()}
    if isinstance(field, models.UUIDField):
        return "mysql" not in vendors
    if isinstance(field, models.CharField | models.TextField):
        collation = _collation(expression)
        return all(
            collation in CODE_POINTS.get(vendor, []) or (collation, vendor) == (None, "sqlite")
            for vendor in vendors
        )
    return isinstance(field, SORTED_ALIKE)


def _check_sorting(expression):
    if not sorts_alike(expression):
        collation = CODE_POINTS.get(connections[shards()[0]].vendor, ["C"])[0]
        raise TypeError(
            f"gather can't compare this {type(expression.output_field).__name__} of two shards, "
            "because a shard may sort it differently from Python. For text, write "
            f'Collate("name", "{collation}"), from django.db.models.functions.'
        )


def count(queryset, *, partial=False):
    """Return how many rows all shards have."""
    answers, errors = ask_all(_of_rows(queryset), lambda rows: rows.count(), partial)
    return answer(sum(answers.values()), errors, partial)


def _sum(values):
    first, *rest = values
    return sum(rest, start=first)  # without start, timedeltas could not be added


# What to ask each shard, and the function that combines the lists of the shards' values.
PARTS = {
    Count: ([Count], _sum),
    Sum: ([Sum], _sum),
    Min: ([Min], min),
    Max: ([Max], max),
    # The mean of all rows is not the mean of the means.
    Avg: ([Sum, Count], lambda sums, counts: _sum(sums) / sum(counts)),
}


def _parts(name, aggregate):
    """Return the aggregates to query on each shard, by name. Raises TypeError if there are none."""
    distinct = getattr(aggregate, "distinct", False)
    if distinct or type(aggregate) not in PARTS:
        name = f"{type(aggregate).__name__}{'(distinct=True)' if distinct else ''}"
        raise TypeError(
            f"{name} can't be computed from the {name} of each shard. gather.aggregate() takes "
            "Count, Sum, Min, Max and Avg, without distinct=True."
        )
    if hasattr(aggregate.default, "resolve_expression"):
        raise TypeError(
            "The default of an aggregate must be a plain value, because Python combines the "
            "answers of the shards, and can't evaluate an expression."
        )
    _, args, kwargs = aggregate.deconstruct()
    kwargs.pop("default", None)  # otherwise each shard without rows would return it
    parts, _ = PARTS[type(aggregate)]
    of_count = {"filter": kwargs.get("filter")}  # the output_field is that of the mean
    return {
        f"{name}__{part.__name__}": part(*args, **(of_count if part is Count else kwargs))
        for part in parts
    }


def aggregate(queryset, *, partial=False, **aggregates):
    """Return a dict, as ``queryset.aggregate(**aggregates)`` would of all shards' rows.

    For Count, Sum, Min, Max and Avg. Raises TypeError for others and for ``distinct=True``, and for
    Min and Max if a shard may sort the values differently from Python.
    """
    parts = {name: _parts(name, wanted) for name, wanted in aggregates.items()}
    for wanted in aggregates.values():
        if isinstance(wanted, Min | Max):
            resolved = wanted.resolve_expression(queryset.query.chain(), summarize=True)
            _check_sorting(resolved.get_source_expressions()[0])
    asked = {part: query for of_one in parts.values() for part, query in of_one.items()}
    shards, errors = ask_all(_of_rows(queryset), lambda rows: rows.aggregate(**asked), partial)
    value = {}
    for name, wanted in aggregates.items():
        _, combine = PARTS[type(wanted)]
        # Without None, the answer of Sum, Min, Max and Avg if there are no rows.
        answers = [
            [given[part] for given in shards.values() if given[part] is not None]
            for part in parts[name]
        ]
        value[name] = combine(*answers) if answers[0] else wanted.default
    return answer(value, errors, partial)


def in_bulk(queryset, keys, *, partial=False):
    """Return a dict of rows by their keys. Only the shards of these keys are queried."""
    keys = list(filter(is_key, map(queryset.model._meta.pk.get_prep_value, keys)))

    def ask_each():
        questions = {
            shard: lambda alias, keys=keys: queryset.using(alias).in_bulk(keys)
            for shard, keys in by_alias(keys, bucket_of).items()
        }
        return ask(queryset.model, questions, partial)

    answers, errors = as_mapped(ask_each)
    rows = {key: row for found in answers.values() for key, row in found.items()}
    return answer(rows, errors, partial)


def _order(queryset):
    """Return the expressions that a queryset is ordered by, and the key as the last."""
    order = queryset.query.order_by or queryset.model._meta.ordering
    expressions = []
    for field in [*order, "pk"]:
        if field == "?":
            raise TypeError(
                "gather can't order by '?', because the random order of one shard can't be merged "
                "with that of another. Order by a field."
            )
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
    largest = connections[shards()[0]].features.nulls_order_largest
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


def by_code_points(queryset, field):
    """Return ``field``; for text, with a collation by which the rows of shards can be merged."""
    if field == "?":
        return field
    (by,) = _order(queryset.order_by(field))[:-1]
    resolved = by.expression.resolve_expression(queryset.query.chain())
    if sorts_alike(resolved) or not isinstance(
        resolved.output_field, models.CharField | models.TextField
    ):
        return field
    connection = connections[shards()[0]]
    collations = CODE_POINTS[connection.vendor]
    mysql = connection.vendor == "mysql" and not connection.mysql_is_mariadb
    by.expression = Collate(by.expression, collations[mysql])
    return by


def _is_in_row(expression, query):
    """Return whether each row of the query has this column, so that it needn't be added."""
    return (
        isinstance(expression, Col)
        and expression.alias == query.get_initial_alias()
        and query.deferred_loading == (frozenset(), True)  # no only(), no defer()
    )


def top(queryset, stop=None, start=0, *, partial=False):
    """Return the rows ``start`` to ``stop - 1`` of all shards, in the order of the queryset.

    Each shard returns its first ``stop`` rows (None: all), so a later page is slower. Raises
    TypeError if a shard may sort the values differently from Python, as most servers do with text,
    because then the rows of two shards can't be merged.
    """
    order = _order(_of_rows(queryset))
    names, added = [], {}
    for by in order:
        resolved = by.expression.resolve_expression(queryset.query.chain())
        _check_sorting(resolved)
        if _is_in_row(resolved, queryset.query):
            names.append(resolved.target.attname)
        else:
            names.append(f"_order_{len(added)}")
            added[names[-1]] = by.expression
    ordered = queryset.annotate(**added)
    ordered.query.standard_ordering = True  # the expressions are reversed already
    ordered = _of_rows(ordered.order_by(*order))

    def first_rows(rows):
        found = [([vars(row)[name] for name in names], row) for row in rows[:stop]]
        for _, row in found:
            for name in added:
                del vars(row)[name]
        return found

    answers, errors = ask_all(ordered, first_rows, partial)
    key = _comparison(order)
    merged = islice(merge(*answers.values(), key=key), start, stop)
    return answer([row for _, row in merged], errors, partial)


class AllRows:
    """The rows of all shards, in the queryset's order, for a Paginator.

    With ``partial``, ``missing`` has the errors of the shards that were unavailable.
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
        # Nearer to the end: read backwards.
        backwards = top(self.queryset.reverse(), rows - start, rows - stop, partial=self.partial)
        return self._note(backwards)[::-1]

    def _note(self, answer):
        if self.partial:
            self.missing |= answer.missing
            return answer.value
        return answer
