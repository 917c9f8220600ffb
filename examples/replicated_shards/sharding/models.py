"""Models whose rows are on shards, and the managers that find these rows.

Django tells a router little: ``create()``, ``get_or_create()``, ``bulk_create()`` and ``filter()``
come without an instance. Here each finds the shard from the key, in what it is given.
"""

import time
from collections import defaultdict
from contextlib import contextmanager
from contextvars import ContextVar

from django.apps import apps
from django.conf import settings
from django.db import connections, models, router, transaction
from django.db.models.expressions import Col
from django.db.models.lookups import Exact, In
from django.db.models.sql.where import AND, WhereNode

from sharding import gather
from sharding.buckets import (
    Bucket,
    MapVersion,
    alias_of,
    bucket_of,
    forget_map,
    in_buckets,
    is_key,
    shard_map,
)
from sharding.fences.models import HeldBucket
from sharding.keys import new_key

__all__ = ["Bucket", "MapVersion"]  # so that Django finds them

LOOKUPS = (Exact, In)  # the conditions that tell the shard
PATIENCE = 10  # seconds that a write waits for a bucket that is moving


class ShardUnknown(Exception):
    """Nothing says which shard a query is for."""


class WrongShard(Exception):
    """The rows belong on another shard than the one that was named with using()."""


class BucketMoving(Exception):
    """The bucket is moving just now: do the whole transaction again."""


_bucket = ContextVar("bucket", default=None)


@contextmanager
def in_bucket(bucket):
    """Take what doesn't tell its bucket to be in this one, and put new rows there.

    For code that asks a router with no hint at all, such as the admin's. Inside, ask for a row,
    never for a count: it would be that of one shard.
    """
    token = _bucket.set(bucket)
    try:
        yield
    finally:
        _bucket.reset(token)


class KeyField(models.BigIntegerField):
    """A primary key that tells its shard.

    ``of`` names the foreign key to the row that this one belongs to, and shares the bucket of. A
    model without it is at the root: each new row may be in any bucket.
    """

    def __init__(self, *args, of=None, **kwargs):
        self.of = of
        super().__init__(*args, **{"primary_key": True, "editable": False, **kwargs})

    def deconstruct(self):
        name, path, args, kwargs = super().deconstruct()
        if self.of is not None:
            kwargs["of"] = self.of
        return name, path, args, kwargs

    def has_default(self):
        return True  # so that saving a new row doesn't try an UPDATE first

    def get_default(self):
        # A row at the root can be found from the moment that it is made, before it is saved.
        return new_key(_bucket.get()) if self.of is None else None

    def get_pk_value_on_save(self, instance):
        if self.of is None:
            return self.get_default()  # formsets take away the key of a row that is new
        return new_key(needed(bucket_of_row(instance), self.model))


def shard_keys(model):
    """Return the fields of a model that tell the shard: its own key, and that of its parent."""
    of = getattr(model._meta.pk, "of", None)
    return [model._meta.pk, model._meta.get_field(of)] if of else [model._meta.pk]


def bucket_of_row(row):
    """Return the number of a row's bucket, or None when its keys don't tell yet."""
    if not isinstance(row._meta.pk, KeyField):
        return None
    # Not getattr(): while a row is being made, that would go and look it up.
    keys = (vars(row).get(field.attname) for field in shard_keys(type(row)))
    return next((bucket_of(key) for key in keys if key is not None), None)


def needed(bucket, model):
    if bucket is None:
        fields = " or ".join(f"{field.name}=" for field in shard_keys(model))
        raise ShardUnknown(
            f"On which shard is this {model._meta.verbose_name}? Pass {fields}, name the shard "
            "with using(), or ask all shards: sharding.gather."
        )
    return bucket


def shard_of(model, instance=None, bucket=None, shard=None, **hints):
    """Return the alias of the shard that a router's hints lead to, or raise ``ShardUnknown``.

    ``instance`` is the row, or one that it belongs to; ``bucket`` is ``ShardedQuerySet``'s hint,
    and ``shard`` is that of ``gather``, which asks each.
    """
    if shard is not None:
        return shard
    if bucket is None and instance is not None:
        bucket = bucket_of_row(instance)
    if bucket is None:
        bucket = _bucket.get()
    return alias_of(needed(bucket, model))


def buckets_asked_for(query):
    """Return the buckets that a query's conditions keep it to, or None if they don't."""
    if query.is_empty():
        return set()
    if query.combinator:
        return None
    fields, table = shard_keys(query.model), query.get_initial_alias()

    def asked_for(node):
        if isinstance(node, WhereNode):
            if node.connector != AND or node.negated:
                return None
            found = [asked for child in node.children if (asked := asked_for(child)) is not None]
            return set.intersection(*found) if found else None
        if (
            isinstance(node, LOOKUPS)
            and isinstance(node.lhs, Col)
            and node.lhs.alias == table
            and node.lhs.target in fields
            and node.rhs_is_direct_value()
        ):
            keys = node.rhs if isinstance(node, In) else [node.rhs]
            return {bucket_of(key) for key in keys if is_key(key)}
        return None

    return asked_for(query.where)


def by_alias(items, bucket):
    """Return a dict of lists of the items, by the alias of the shard of ``bucket(item)``."""
    aliases, groups = {}, defaultdict(list)
    for item in items:
        number = bucket(item)
        if number not in aliases:
            aliases[number] = alias_of(number)
        groups[aliases[number]].append(item)
    return dict(groups)


@contextmanager
def writing(buckets, using=None):
    """Open a transaction on the shard that has these buckets, and yield its alias.

    The shard keeps the buckets until the transaction ends: no move can come between. While one of
    them is on the move, wait for it; in a transaction that was open before, raise ``BucketMoving``,
    since what it did already has to be done again too.
    """
    buckets = sorted(buckets)
    aliases = {alias_of(bucket) for bucket in buckets}
    if using is not None and aliases != {using}:
        raise WrongShard(f"These rows belong on {' and '.join(sorted(aliases))}, not on {using}.")
    until = time.monotonic() + PATIENCE
    while True:
        if len(aliases) != 1:
            raise WrongShard(f"One transaction can't write to {' and '.join(sorted(aliases))}.")
        (alias,) = aliases
        nested = connections[alias].in_atomic_block
        with transaction.atomic(using=alias, savepoint=False):
            # In the order of their numbers, so that no two transactions wait for each other. The
            # lock is the database's, or where it has none for rows, the transaction itself.
            held = HeldBucket.objects.using(alias).select_for_update().order_by("number")
            if len(held.filter(number__in=buckets)) == len(buckets):
                yield alias
                return
        if nested or time.monotonic() > until:
            raise BucketMoving(f"A bucket is moving from or to {alias}: try again.")
        time.sleep(0.01)
        forget_map()
        aliases = {alias_of(bucket) for bucket in buckets}


class ShardedQuerySet(models.QuerySet):
    """Finds the shard from the keys in its conditions, and in the rows that it is to write."""

    @property
    def db(self):
        if self._db:
            return self._db
        buckets = buckets_asked_for(self.query)
        if buckets is None:
            return super().db  # by the hint of a related manager, or not at all
        if not buckets:
            return settings.SHARDS[0]  # nothing is asked: the answer is the same everywhere
        # One bucket is on one shard, which the router finds.
        if len(buckets) > 1 and len(aliases := by_alias(buckets, lambda bucket: bucket)) > 1:
            raise ShardUnknown(
                f"These {self.model._meta.verbose_name_plural} are on {len(aliases)} shards: "
                f"{', '.join(sorted(aliases))}. Ask all shards: sharding.gather."
            )
        database = router.db_for_write if self._for_write else router.db_for_read
        return database(self.model, **{**self._hints, "bucket": min(buckets)})

    def create(self, **kwargs):
        row = self.model(**kwargs)
        self._for_write = True
        row.save(force_insert=True, using=self._db)
        return row

    create.alters_data = True

    def get_or_create(self, defaults=None, **kwargs):
        with self.filter(**kwargs)._writing() as queryset:
            return super(ShardedQuerySet, self.using(queryset.db)).get_or_create(defaults, **kwargs)

    get_or_create.alters_data = True

    def update_or_create(self, defaults=None, create_defaults=None, **kwargs):
        with self.filter(**kwargs)._writing() as queryset:
            return super(ShardedQuerySet, self.using(queryset.db)).update_or_create(
                defaults, create_defaults, **kwargs
            )

    update_or_create.alters_data = True

    def bulk_create(self, objs, *args, **kwargs):
        """As Django's, with a transaction for each of the shards that the rows are on."""
        objs = list(objs)
        for row in objs:
            row.give_key()
        for rows in by_alias(objs, bucket_of_row).values():
            with writing({bucket_of_row(row) for row in rows}, self._db) as alias:
                super(ShardedQuerySet, self.using(alias)).bulk_create(rows, *args, **kwargs)
        return objs

    bulk_create.alters_data = True

    def bulk_update(self, objs, *args, **kwargs):
        """As Django's, with a transaction for each of the shards that the rows are on."""
        changed = 0
        for rows in by_alias(objs, bucket_of_row).values():
            with writing({bucket_of_row(row) for row in rows}, self._db) as alias:
                changed += super(ShardedQuerySet, self.using(alias)).bulk_update(
                    rows, *args, **kwargs
                )
        return changed

    bulk_update.alters_data = True

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
        buckets, queryset = buckets_asked_for(self.query), self
        if buckets is None:
            alias = self.db
            buckets = shard_map().buckets(alias)
            if uncounted := shard_map().uncounted(alias):
                queryset = self.exclude(in_buckets(uncounted))
        if not buckets:
            yield queryset
            return
        with writing(buckets, self._db or self.db) as alias:
            yield queryset.using(alias)


class Sharded(models.Model):
    """A row on a shard. The model gives it an ``id`` that is a ``KeyField``."""

    objects = ShardedQuerySet.as_manager()

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


def sharded_models():
    """Return the models whose rows are on shards, those before that others belong to."""
    found = [model for model in apps.get_models() if isinstance(model._meta.pk, KeyField)]

    def depth(model):
        of = model._meta.pk.of
        return 0 if of is None else 1 + depth(model._meta.get_field(of).related_model)

    return sorted(found, key=depth)
