"""The primary key that tells the shard, and the bucket of a row."""

from contextlib import contextmanager
from contextvars import ContextVar

from django.apps import apps
from django.core.checks import Error
from django.db import models

from sharding.keys import bucket_of, new_key


class ShardUnknown(Exception):
    """Nothing says which shard a query is for."""


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

    def check(self, **kwargs):
        """As Django's; and that the app is installed whose checks find all else."""
        errors = super().check(**kwargs)
        if not apps.is_installed("sharding"):
            errors.append(
                Error(
                    "A KeyField needs the app sharding, which is not installed.",
                    hint='Write INSTALLED_APPS += ["sharding", "sharding.fences"]',
                    obj=self,
                    id="sharding.E018",
                )
            )
        return errors

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
    for field in shard_keys(type(row)):
        if (key := vars(row).get(field.attname)) is not None:
            return bucket_of(field.get_prep_value(key))  # a key may be text, as in a form
    return None


def bucket_in_hand():
    """Return the bucket of the ``in_bucket()`` block that this is in, or None."""
    return _bucket.get()


def needed(bucket, model):
    """Return the bucket; raise ``ShardUnknown``, which says what to pass, where it is None."""
    if bucket is None:
        fields = " or ".join(f"{field.name}=" for field in shard_keys(model))
        raise ShardUnknown(
            f"The shard of this {model._meta.verbose_name} is unknown. Pass {fields}, name the "
            "shard with using(), or query all shards with sharding.gather."
        )
    return bucket
