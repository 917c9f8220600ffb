"""Models whose rows are on shards, and the managers that find these rows.

Django tells a router little: ``create()``, ``get_or_create()``, ``bulk_create()`` and ``filter()``
come without an instance. Here each finds the shard from the key, in what it is given.
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

# For Django, which looks here for models, and for those who write models of their own.
__all__ = [
    "Bucket",
    "KeyField",
    "MapVersion",
    "Resharding",
    "Sharded",
    "ShardedManager",
    "ShardedQuerySet",
]

LOOKUPS = (Exact, In)  # the conditions that tell the shard


def is_key_column(expression):
    """Return whether this is a column that tells the shard: a row's own key, or its parent's."""
    if not isinstance(expression, Col):
        return False
    model = expression.target.model
    return isinstance(model._meta.pk, KeyField) and expression.target in shard_keys(model)


def buckets_asked_for(query):
    """Return the buckets that a query's conditions keep it to, or None if they don't.

    A condition on a table that is joined counts as well: relations don't leave a bucket.
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
    """Return the buckets of all of these, or None if one of them doesn't tell."""
    return None if None in found else set().union(*found)


def _lookups(nodes):
    """Yield each lookup in these conditions and expressions, but for those in subqueries."""
    for node in nodes:
        if isinstance(node, LOOKUPS):
            yield node
        if isinstance(node, WhereNode):
            yield from _lookups(node.children)
        elif not isinstance(node, Query) and hasattr(node, "get_source_expressions"):
            yield from _lookups(node.get_source_expressions())


class ShardedQuery(Query):
    """What a queryset sends, where it may be a part of another. A part keeps to the same shard."""

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
        """Return whether a condition ties it to the bucket of a row of an outer query."""
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
        """Return whether the outer query asks which of its rows' keys are among these."""
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
    """Finds the shard from the keys in its conditions, and in the rows that it is to write."""

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
            # That a related row is at hand says nothing: the conditions don't keep to its bucket.
            return database(self.model)
        if not buckets:
            return settings.SHARDS[0]  # nothing is asked: the answer is the same everywhere
        # One bucket is on one shard, which the router finds.
        if len(buckets) > 1 and len(aliases := by_alias(buckets, lambda bucket: bucket)) > 1:
            raise ShardUnknown(
                f"These {self.model._meta.verbose_name_plural} are on {len(aliases)} shards: "
                f"{', '.join(sorted(aliases))}. To query all shards, use sharding.gather."
            )
        return database(self.model, **{**self._hints, "bucket": min(buckets)})

    def _read(self, read):
        """Return ``read()``, of where the rows are; of the shard that using() named, if it did."""
        return as_mapped(read) if self._db is None else read()

    def _rows(self):
        if self.query.select_for_update:
            self._hold()
        return list(self._iterable_class(self))

    def _hold(self):
        """Keep the rows that are to be locked where they are, until the transaction ends."""
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
        """As Django's. A move that begins after the first row leaves it the rows of before."""
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
        """Return the bucket for a row without a key: one of the shard's that using() named."""
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
        # Django's asks for ``db`` outside of a thread, where the map can't be read.
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
            # Where these buckets are now, writing() finds anew: they may be moving.
            with writing(buckets, using) as alias:
                yield self.using(alias)


class ShardedManager(models.Manager.from_queryset(ShardedQuerySet)):
    def db_manager(self, using=None, hints=None):
        """As Django's, but what belongs to a row isn't bound to the shard that has the row now.

        To create such, Django asks the router, and then passes the answer as if the caller had said
        ``using()``. A move may come between: the new row belongs where its bucket is by then.
        """
        if hasattr(self, "instance"):  # a related manager
            using = None
        return super().db_manager(using, hints)


class Sharded(models.Model):
    """A row on a shard. The model gives it an ``id`` that is a ``KeyField``."""

    objects = ShardedManager()

    class Meta:
        abstract = True
        base_manager_name = "objects"  # the one that follows foreign keys

    def save(self, *args, using=None, **kwargs):
        self.give_key()
        with writing([needed(bucket_of_row(self), type(self))], using) as alias:
            super().save(*args, using=alias, **kwargs)

    save.alters_data = True

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

    def delete(self, using=None, **kwargs):
        with writing([needed(bucket_of_row(self), type(self))], using) as alias:
            return super().delete(using=alias, **kwargs)

    delete.alters_data = True

    def _get_next_or_previous_by_FIELD(self, field, is_next, **conditions):  # noqa: N802
        # Django takes the shard that this row was read from. The next row may be on any.
        row = copy(self)
        row._state.db = None
        return super(Sharded, row)._get_next_or_previous_by_FIELD(field, is_next, **conditions)


def sharded_models():
    """Return the models whose rows are on shards, those before that others belong to."""
    found = [model for model in apps.get_models() if isinstance(model._meta.pk, KeyField)]

    def depth(model):
        of = model._meta.pk.of
        return 0 if of is None else 1 + depth(model._meta.get_field(of).related_model)

    return sorted(found, key=depth)


class Resharding(models.Model):
    """The one row that says whether buckets are being moved, and keeps two runs from doing so.

    ``number`` counts the runs, and ``beat`` goes up as long as the latest is alive.
    """

    number = models.BigIntegerField(default=0)
    beat = models.BigIntegerField(default=0)
    running = models.BooleanField(default=False)

    class Meta:
        app_label = "sharding"

    def __str__(self):
        return f"run {self.number}"
