"""``KeyField``, the primary key that contains the bucket, and the bucket of a row."""

from contextlib import contextmanager
from contextvars import ContextVar

from django.apps import apps
from django.core.checks import Error
from django.db import models

from sharding.keys import bucket_of, new_key


class ShardUnknown(Exception):
    """A query has no key, so its shard is unknown."""


_bucket = ContextVar("bucket", default=None)


@contextmanager
def in_bucket(bucket):
    """Use this bucket for queries whose bucket is unknown, and for new rows.

    For code that calls a router without hints, such as the admin's. In the block, read single
    rows only: a count would be that of one shard.
    """
    token = _bucket.set(bucket)
    try:
        yield
    finally:
        _bucket.reset(token)


class KeyField(models.BigIntegerField):
    """A primary key that contains the bucket of its row.

    ``of`` names the foreign key to the parent row, which is in the same bucket. A model without
    ``of`` is a root: each of its new rows may be in any bucket.
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
        """As Django's. Also check that the app is installed, whose checks find other errors."""
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
        return True  # so that save() of a new row doesn't try an UPDATE first

    def get_default(self):
        # A root row has its bucket when the instance is made, before it is saved.
        return new_key(_bucket.get()) if self.of is None else None

    def get_pk_value_on_save(self, instance):
        if self.of is None:
            return self.get_default()  # formsets remove the key of a new row
        return new_key(needed(bucket_of_row(instance), self.model))


def shard_keys(model):
    """Return the fields that contain the bucket: a model's own key, and its parent's."""
    of = getattr(model._meta.pk, "of", None)
    return [model._meta.pk, model._meta.get_field(of)] if of else [model._meta.pk]


def bucket_of_row(row):
    """Return the number of a row's bucket, or None if its keys are not set yet."""
    if not isinstance(row._meta.pk, KeyField):
        return None
    # Not getattr(): while an instance is being made, that would send a query.
    for field in shard_keys(type(row)):
        if (key := vars(row).get(field.attname)) is not None:
            return bucket_of(field.get_prep_value(key))  # a key may be text, as in a form
    return None


def bucket_in_hand():
    """Return the bucket of the ``in_bucket()`` block around this call, or None."""
    return _bucket.get()


def needed(bucket, model):
    """Return the bucket. If it is None, raise ``ShardUnknown``, which says what to pass."""
    if bucket is None:
        fields = " or ".join(f"{field.name}=" for field in shard_keys(model))
        raise ShardUnknown(
            f"The shard of this {model._meta.verbose_name} is unknown. Pass {fields}, name the "
            "shard with using(), or query all shards with sharding.gather."
        )
    return bucket
