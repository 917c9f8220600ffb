"""Models whose rows are on shards, and the managers that find these rows.

For ``create()``, ``get_or_create()``, ``bulk_create()`` and ``filter()``, Django passes no instance
to a router. Here each of these methods finds the shard from the keys in its arguments.
"""

import random
from contextlib import contextmanager
from copy import copy
from itertools import chain, islice

from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings
from django.db import connections, models, router
from django.db.models.expressions import Col, ColPairs
from django.db.models.lookups import Exact, In
from django.db.models.sql import Query
from django.db.models.sql.where import AND, WhereNode

from sharding import gather
from sharding.buckets import (
    Bucket,
    MapVersion,
    alias_of,
    as_mapped,
    by_alias,
    in_buckets,
    shard_map,
)
from sharding.fields import (
    KeyField,
    ShardUnknown,
    bucket_in_hand,
    bucket_of_row,
    in_bucket,
    needed,
    shard_keys,
)
from sharding.keys import bucket_of, is_key
from sharding.writing import BucketMoving, WrongShard, hold, write_rows, writing, writing_all

# Django looks for models in this module, and projects import the base classes from it.
__all__ = [
    "Bucket",
    "KeyField",
    "MapVersion",
    "Resharding",
    "Sharded",
    "ShardedManager",
    "ShardedQuerySet",
]

LOOKUPS = (Exact, In)  # the conditions from which the shard is known


def is_key_column(expression):
    """Return whether this column contains the bucket: a row's own key, or its parent's."""
    if not isinstance(expression, Col):
        return False
    model = expression.target.model
    return isinstance(model._meta.pk, KeyField) and expression.target in shard_keys(model)


def buckets_asked_for(query):
    """Return the buckets to which a query's conditions limit it, or None if they don't.

    A condition on a joined table counts too, because related rows are in the same bucket.
    """
    if query.is_empty():
        return set()
    if query.combinator:
        return _all_of([buckets_asked_for(combined) for combined in query.combined_queries])

    def asked_for(node):
        if isinstance(node, WhereNode):
            found = [asked_for(child) for child in node.children]
            if node.negated:
                return None
            if node.connector != AND:
                return _all_of(found)
            told = [buckets for buckets in found if buckets is not None]
            return set.intersection(*told) if told else None
        if not isinstance(node, LOOKUPS) or not node.rhs_is_direct_value():
            return None
        keys = node.rhs if isinstance(node, In) else [node.rhs]
        columns = [node.lhs]
        if isinstance(node.lhs, ColPairs):  # as in Django's own prefetching, with tuples of keys
            columns = node.lhs.get_cols()
        else:
            keys = [(key,) for key in keys]
        for number, column in enumerate(columns):
            if is_key_column(column) and column.alias in query.alias_map:
                return {
                    bucket_of(key)
                    for values in keys
                    if is_key(key := column.target.get_prep_value(values[number]))
                }
        return None

    return asked_for(query.where)


def _all_of(found):
    """Return the union of these sets of buckets, or None if one of them is None."""
    return None if None in found else set().union(*found)


def _lookups(nodes):
    """Yield each lookup in these conditions and expressions, except in subqueries."""
    for node in nodes:
        if isinstance(node, LOOKUPS):
            yield node
        if isinstance(node, WhereNode):
            yield from _lookups(node.children)
        elif not isinstance(node, Query) and hasattr(node, "get_source_expressions"):
            yield from _lookups(node.get_source_expressions())


class ShardedQuery(Query):
    """The query of a queryset. As a subquery, it must need rows of the outer query's shard only."""

    bound_to = None  # the alias in using()

    def bound(self, alias):
        query = self.clone()
        query.bound_to = alias
        query.combined_queries = tuple(
            part.bound(part.bound_to or alias) for part in self.combined_queries
        )
        return query

    def combine(self, rhs, connector):
        if self.bound_to != rhs.bound_to:
            raise ShardUnknown(
                "These querysets can't be combined: using() binds one to "
                f"{self.bound_to or 'no shard'}, and the other to {rhs.bound_to or 'no shard'}. "
                "Bind both to the same shard, or evaluate each by itself."
            )
        super().combine(rhs, connector)

    def as_sql(self, compiler, connection):
        if not self.is_beside(compiler.query):
            name = self.model._meta.verbose_name_plural
            raise ShardUnknown(
                f"This subquery may need {name} from another shard than the outer query. Compare "
                'their keys, as in filter(author=OuterRef("pk")) or '
                'filter(pk__in=…values("author")). Or name the same shard with using() in both '
                "queries. Or evaluate the subquery first."
            )
        return super().as_sql(compiler, connection)

    def is_beside(self, outer):
        """Return whether all rows that this subquery needs are on the shard of the outer query."""
        if self.bound_to is not None:
            return self.bound_to == getattr(outer, "bound_to", None)
        if self.is_tied_to_outer_row() or self.is_compared_by_key(outer):
            return True
        buckets, outer_buckets = buckets_asked_for(self), buckets_asked_for(outer)
        return None not in (buckets, outer_buckets) and buckets <= outer_buckets

    def is_tied_to_outer_row(self):
        """Return whether a condition limits it to the bucket of the outer query's row."""
        return (
            not self.combinator
            and self.where.connector == AND
            and not self.where.negated
            and any(
                isinstance(node, Exact)
                and is_key_column(node.lhs)
                and is_key_column(node.rhs)
                and (node.lhs.alias in self.alias_map) != (node.rhs.alias in self.alias_map)
                for node in self.where.children
            )
        )

    def is_compared_by_key(self, outer):
        """Return whether the outer query compares its rows' keys with these keys, by ``in``."""
        return (
            not self.combinator
            and not self.is_sliced
            and len(self.select) == 1
            and is_key_column(self.select[0])
            and any(
                node.rhs is self and isinstance(node, In) and is_key_column(node.lhs)
                for node in _lookups([outer.where, *outer.annotations.values()])
            )
        )


class ShardedQuerySet(models.QuerySet):
    """Finds the shard from the keys in its conditions, and in the rows that it writes."""

    def __init__(self, model=None, query=None, using=None, hints=None):
        super().__init__(model, query or ShardedQuery(model), using, hints)
        self._query.bound_to = using

    def using(self, alias):
        queryset = super().using(alias)
        queryset._query = queryset._query.bound(alias)
        return queryset

    @property
    def db(self):
        if any(query.bound_to != self._db for query in self.query.combined_queries):
            raise ShardUnknown(
                "One query can't read from several shards. Name the same shard with using() in "
                "each part of this union(), or evaluate each part by itself."
            )
        if self._db:
            return self._db
        buckets = buckets_asked_for(self.query)
        database = router.db_for_write if self._for_write else router.db_for_read
        if buckets is None:
            # No hints: the conditions don't limit the query to the bucket of a related row.
            return database(self.model)
        if not buckets:
            return settings.SHARDS[0]  # the query has no rows, on any shard
        # The buckets are on one shard, and the router finds it.
        if len(buckets) > 1 and len(aliases := by_alias(buckets, lambda bucket: bucket)) > 1:
            raise ShardUnknown(
                f"These {self.model._meta.verbose_name_plural} are on {len(aliases)} shards: "
                f"{', '.join(sorted(aliases))}. To query all shards, use sharding.gather."
            )
        return database(self.model, **{**self._hints, "bucket": min(buckets)})

    def _read(self, read):
        """Return ``read()``; without using(), call it again if the rows may have moved."""
        return as_mapped(read) if self._db is None else read()

    def _rows(self):
        if self.query.select_for_update:
            self._hold()
        return list(self._iterable_class(self))

    def _hold(self):
        """Lock the buckets of the rows until the transaction ends, so that they can't move."""
        alias = self.db
        if connections[alias].in_atomic_block:
            buckets = buckets_asked_for(self.query)
            if not hold(sorted(shard_map().buckets(alias) if buckets is None else buckets), alias):
                raise BucketMoving(
                    f"A bucket is moving from or to {alias}. Try the transaction again."
                )
        elif any(connections[other].in_atomic_block for other in settings.SHARDS):
            raise BucketMoving(
                f"These rows are on {alias}, but the open transaction is on another shard. Their "
                "bucket may have moved: find the shard again, and try the transaction again."
            )

    def _fetch_all(self):
        if self._result_cache is None:
            self._result_cache = self._read(self._rows)
        super()._fetch_all()

    def count(self):
        return self._read(super().count)

    def exists(self):
        return self._read(super().exists)

    def aggregate(self, *args, **kwargs):
        return self._read(lambda: super(ShardedQuerySet, self).aggregate(*args, **kwargs))

    def iterator(self, *args, **kwargs):
        """As Django's. If a move begins after the first row, the rows are those from before it."""
        super().iterator(*args, **kwargs)  # raises where its arguments are wrong
        return self._iterate(*args, **kwargs)

    def _iterate(self, *args, **kwargs):
        def start():
            if self.query.select_for_update:
                self._hold()
            rows = super(ShardedQuerySet, self).iterator(*args, **kwargs)
            return list(islice(rows, 1)), rows

        yield from chain(*self._read(start))

    def create(self, **kwargs):
        with in_bucket(self._bucket_for_new()):
            row = self.model(**kwargs)
        self._for_write = True
        row.save(force_insert=True, using=self._db)
        return row

    create.alters_data = True

    def _bucket_for_new(self):
        """Return the bucket for a row without a key: with using(), a random one of that shard."""
        if self._db is None or bucket_in_hand() is not None or shard_keys(self.model)[1:]:
            return bucket_in_hand()
        current = shard_map()
        buckets = current.buckets(self._db)
        if not (still := [number for number in buckets if number not in current.moving]):
            if buckets:
                raise BucketMoving(f"All buckets of {self._db} are moving. Try again later.")
            raise WrongShard(
                f"{self._db} has no buckets, so it takes no new rows. Move buckets to it with "
                f'reshard, or remove using("{self._db}").'
            )
        return random.choice(still)

    def get_or_create(self, defaults=None, **kwargs):
        with self.filter(**kwargs)._writing() as queryset:
            return super(ShardedQuerySet, self.using(queryset._db)).get_or_create(
                defaults, **kwargs
            )

    get_or_create.alters_data = True

    def update_or_create(self, defaults=None, create_defaults=None, **kwargs):
        with self.filter(**kwargs)._writing() as queryset:
            return super(ShardedQuerySet, self.using(queryset._db)).update_or_create(
                defaults, create_defaults, **kwargs
            )

    update_or_create.alters_data = True

    def bulk_create(self, objs, *args, **kwargs):
        """As Django's, with a transaction for each of the shards that the rows are on."""
        objs = list(objs)
        for row in objs:
            row.give_key()

        def write(alias, rows):
            super(ShardedQuerySet, self.using(alias)).bulk_create(rows, *args, **kwargs)

        write_rows(objs, write, self._db)
        return objs

    bulk_create.alters_data = True

    def bulk_update(self, objs, *args, **kwargs):
        """As Django's, with a transaction for each of the shards that the rows are on."""
        objs, changed = list(objs), 0
        for row in objs:
            needed(bucket_of_row(row), self.model)

        def write(alias, rows):
            nonlocal changed
            changed += super(ShardedQuerySet, self.using(alias)).bulk_update(rows, *args, **kwargs)

        write_rows(objs, write, self._db)
        return changed

    bulk_update.alters_data = True

    async def aiterator(self, *args, **kwargs):
        # Django's reads ``db`` in the event loop, where the map can't be queried.
        queryset = self.using(await sync_to_async(lambda: self.db)())
        async for row in super(ShardedQuerySet, queryset).aiterator(*args, **kwargs):
            yield row

    def in_bulk(self, id_list=None, **kwargs):
        if id_list is None or self._db or kwargs:
            return super().in_bulk(id_list, **kwargs)
        return gather.in_bulk(self, id_list)

    def update(self, **kwargs):
        with self._writing() as queryset:
            return super(ShardedQuerySet, queryset).update(**kwargs)

    update.alters_data = True

    def delete(self):
        with self._writing() as queryset:
            return super(ShardedQuerySet, queryset).delete()

    delete.alters_data = True
    delete.queryset_only = True

    @contextmanager
    def _writing(self):
        """Yield this queryset, bound to its shard, in a transaction that holds its buckets."""
        self._for_write = True
        alias, using = self.db, self._db
        buckets = buckets_asked_for(self.query)
        if buckets is None:
            with writing_all(alias) as uncounted:
                yield (self.exclude(in_buckets(uncounted)) if uncounted else self).using(alias)
        elif not buckets:
            yield self
        else:
            # writing() looks for these buckets again, because they may be moving.
            with writing(buckets, using) as alias:
                yield self.using(alias)


class ShardedManager(models.Manager.from_queryset(ShardedQuerySet)):
    def db_manager(self, using=None, hints=None):
        """As Django's, but a related manager isn't bound to the shard that its row is on now.

        To create a related row, Django asks the router, and passes the answer like ``using()`` of
        the caller. The bucket may move after that, and the new row belongs on its new shard.
        """
        if hasattr(self, "instance"):  # a related manager
            using = None
        return super().db_manager(using, hints)


class Keyed(models.Model):
    """The base class if ``SHARDS`` is empty. Rows have keys, and Django's own methods find them."""

    objects = models.Manager()

    class Meta:
        abstract = True
        base_manager_name = "objects"  # the manager that follows foreign keys

    def give_key(self):
        """Give the row a key, if it has none."""
        if self.pk is None:
            self.pk = self._meta.pk.get_pk_value_on_save(self)

    give_key.alters_data = True

    @property
    def bucket(self):
        return bucket_of_row(self)

    @property
    def shard(self):
        """The alias of the shard that the row belongs on."""
        return alias_of(self.bucket)


class Sharded(Keyed):
    """The base class of models on shards. A model adds an ``id``, which is a ``KeyField``."""

    objects = ShardedManager()

    class Meta(Keyed.Meta):
        abstract = True

    def save(self, *args, using=None, **kwargs):
        self.give_key()
        with writing([needed(bucket_of_row(self), type(self))], using) as alias:
            super().save(*args, using=alias, **kwargs)

    save.alters_data = True

    def delete(self, using=None, **kwargs):
        with writing([needed(bucket_of_row(self), type(self))], using) as alias:
            return super().delete(using=alias, **kwargs)

    delete.alters_data = True

    def _get_next_or_previous_by_FIELD(self, field, is_next, **conditions):  # noqa: N802
        # Django uses the shard that this row was read from. The next row may be on another.
        row = copy(self)
        row._state.db = None
        return super(Sharded, row)._get_next_or_previous_by_FIELD(field, is_next, **conditions)


if not getattr(settings, "SHARDS", True):  # if it is missing, apps.py says so
    # All rows are in one database. Projects import these names, so their models stay the same.
    Sharded, ShardedManager, ShardedQuerySet = Keyed, models.Manager, models.QuerySet


def sharded_models():
    """Return the models whose rows are on shards, each parent before its children."""
    found = [model for model in apps.get_models() if isinstance(model._meta.pk, KeyField)]

    def depth(model):
        of = model._meta.pk.of
        return 0 if of is None else 1 + depth(model._meta.get_field(of).related_model)

    return sorted(found, key=depth)


class Resharding(models.Model):
    """One row, which prevents two runs of reshard from moving buckets at the same time.

    ``number`` counts the runs, and ``beat`` increases as long as the latest run is alive.
    """

    number = models.BigIntegerField(default=0)
    beat = models.BigIntegerField(default=0)
    running = models.BooleanField(default=False)

    class Meta:
        app_label = "sharding"

    def __str__(self):
        return f"run {self.number}"
