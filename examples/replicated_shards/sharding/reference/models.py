"""Reference tables: small tables in ``default``, with a copy on each shard, so that SQL can join.

Each write through the ORM also changes the version in ``default``, in the same transaction. After
the commit, the tables are copied to each shard. A copy compares all rows, and so a later copy
repairs what an earlier one missed: a shard that was down, a process that was killed, raw SQL, or a
data migration. A shard has the version that it was last copied from.
"""

import logging
import time
from contextlib import contextmanager
from functools import partial

from django.apps import apps
from django.conf import settings
from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    IntegrityError,
    connections,
    models,
    router,
    transaction,
)
from django.db.models import ProtectedError

from sharding import gather
from sharding.bulk import insert, names
from sharding.errors import some
from sharding.models import sharded_models
from sharding.schema import difference
from sharding.writing import WrongShard

logger = logging.getLogger("sharding.reference")


class Version(models.Model):
    """One row in each database: which state of the reference tables it has. 0: never written.

    ``number`` is the time of the write in nanoseconds, so a number isn't used again after a flush.
    """

    number = models.BigIntegerField(default=0)

    class Meta:
        app_label = "reference"

    def __str__(self):
        return f"version {self.number}"


def version_of(alias):
    return Version.objects.using(alias).values_list("number", flat=True).first() or 0


@contextmanager
def changing(alias):
    """Open a transaction on ``default`` that changes the reference tables.

    After the commit, the tables are copied. Raises WrongShard if ``alias`` is another database.
    """
    if not settings.SHARDS:
        yield
        return
    if alias != DEFAULT_DB_ALIAS:
        raise WrongShard(
            f"Reference tables are written in {DEFAULT_DB_ALIAS} only, not on {alias}. Remove "
            f'using("{alias}"): after the commit, the rows are copied to each shard.'
        )
    with transaction.atomic(using=alias, savepoint=False):
        number = time.time_ns()
        # First, because this lock makes other writers wait until the transaction ends. One
        # statement, because on MariaDB the first writers of all would deadlock with two.
        target = connections[alias].features.supports_update_conflicts_with_target
        Version.objects.using(alias).bulk_create(
            [Version(pk=1, number=number)],
            update_conflicts=True,
            update_fields=["number"],
            unique_fields=["id"] if target else None,
        )
        yield
        transaction.on_commit(partial(copy_to_all, number), using=alias)


class ReferenceQuerySet(models.QuerySet):
    """Counts the writes for which Django calls neither ``save()`` nor a signal."""

    def update(self, **kwargs):
        self._for_write = True
        with changing(self.db):
            return super().update(**kwargs)

    update.alters_data = True

    def bulk_create(self, *args, **kwargs):
        self._for_write = True
        with changing(self.db):
            return super().bulk_create(*args, **kwargs)

    bulk_create.alters_data = True


class ReferenceManager(models.Manager.from_queryset(ReferenceQuerySet)):
    pass


class Reference(models.Model):
    """The base class of the models of ``REFERENCE_APPS``."""

    objects = ReferenceManager()

    class Meta:
        abstract = True
        base_manager_name = "objects"

    def save_base(self, *args, using=None, **kwargs):
        using = using or router.db_for_write(type(self), instance=self)
        with changing(using):
            super().save_base(*args, using=using, **kwargs)

    save_base.alters_data = True


def reference_models():
    labels = getattr(settings, "REFERENCE_APPS", ())
    return [model for model in apps.get_models() if model._meta.app_label in labels]


def foreign_keys_to(model):
    """Return the foreign keys of sharded models to a reference model."""
    return [
        field
        for sharded in sharded_models()
        for field in sharded._meta.local_fields
        if field.is_relation and field.related_model is model
    ]


def loaded(sender, raw, using, **kwargs):
    """Receive ``post_save``. ``loaddata`` saves a deserialized row without ``save()``."""
    if raw and using == DEFAULT_DB_ALIAS:
        with changing(using):
            pass


def deleting(sender, instance, using, **kwargs):
    """Receive ``pre_delete``, which Django sends for each row, in the transaction.

    Raises ProtectedError if rows of a shard refer to it, and ShardDown if a shard can't be queried.
    """
    with changing(using):
        for field in foreign_keys_to(sender):
            rows = field.model._base_manager.filter(**{field.name: instance})
            found = gather.each(rows, lambda rows: rows.exists())
            if shards := [alias for alias, refers in found.items() if refers]:
                raise ProtectedError(
                    f"This {sender._meta.verbose_name} can't be deleted, because "
                    f"{field.model._meta.verbose_name_plural} on {', '.join(shards)} refer to it.",
                    set(),
                )


def copy_to_all(number):
    """After a commit, copy the tables to each shard. If this fails, log the shard as behind."""
    if version_of(DEFAULT_DB_ALIAS) != number:
        return  # there was a later write, after which they are copied
    for alias in settings.SHARDS:
        copy_or_log(alias)


def copy_or_log(alias):
    try:
        _, kept = copy(alias)
    except DatabaseError as error:
        kept = [" ".join(str(error).split())]
    for line in kept:
        logger.error("%s is behind: %s Run: python manage.py sync_reference", alias, line)


def copy(alias):
    """Make the tables of a shard equal to those in ``default``, in one transaction.

    Returns how many rows were changed, and a list of lines about rows that were kept, because rows
    of the shard refer to them. Then the shard stays behind. Raises DatabaseError.
    """
    changed, kept = 0, []
    with transaction.atomic(using=alias):
        here = Version.objects.using(alias)
        here.get_or_create(pk=1)
        # Lock it before default is read: of two copies, the later one writes the later rows.
        here.select_for_update().get(pk=1)
        number, tables = read()
        for model, rows in tables.items():
            changed += replace(model, rows, alias, kept)
        if not kept:
            here.update(number=number)
    return changed, kept


def read():
    """Return the version in ``default`` and the rows that it has: dicts by key, by model."""
    while True:
        number = version_of(DEFAULT_DB_ALIAS)
        tables = {model: rows_of(model, DEFAULT_DB_ALIAS) for model in reference_models()}
        if version_of(DEFAULT_DB_ALIAS) == number:
            return number, tables


def fields_of(model):
    return [field for field in model._meta.local_concrete_fields if not field.generated]


def rows_of(model, alias):
    """Return a dict of the values of each row, by key."""
    rows = models.QuerySet(model, using=alias).values_list(
        "pk", *(field.attname for field in fields_of(model))
    )
    return {key: values for key, *values in rows}


def replace(model, wanted, alias, kept):
    """Make a shard's table equal to these rows; return how many were changed.

    Adds a line to ``kept`` if rows can't be deleted.
    """
    found = rows_of(model, alias)
    gone = found.keys() - wanted.keys()
    refers = set()
    if gone:
        for field in foreign_keys_to(model):
            key = f"{field.name}__pk"
            rows = field.model._base_manager.using(alias).filter(**{f"{key}__in": gone})
            refers.update(rows.values_list(key, flat=True))
    if refers:
        kept.append(
            f"{model._meta.verbose_name_plural} that are no longer in {DEFAULT_DB_ALIAS} are kept, "
            f"because rows of {alias} refer to them: {some(sorted(refers))}."
        )
    if gone := gone - refers:
        table, key, _ = names(model, alias)
        with connections[alias].cursor() as cursor:
            cursor.executemany(
                f"DELETE FROM {table} WHERE {key} = %s",
                [(model._meta.pk.get_db_prep_value(pk, connections[alias]),) for pk in gone],
            )
    fields = fields_of(model)
    different = [pk for pk in wanted.keys() & found.keys() if wanted[pk] != found[pk]]
    attnames = [field.attname for field in fields]
    rows = {pk: dict(zip(attnames, wanted[pk], strict=True)) for pk in different}
    update(model, rows, alias)
    new = wanted.keys() - found.keys()
    if new:
        # By SQL, because Django would compute auto_now and the like again.
        insert(
            model,
            [
                tuple(
                    f.get_db_prep_save(v, connections[alias])
                    for f, v in zip(fields, wanted[pk], strict=True)
                )
                for pk in sorted(new)
            ],
            alias,
        )
    return len(gone) + len(different) + len(new)


def update(model, rows, alias):
    """Set the values of rows. A unique value may be free only after another row was updated."""
    while rows:
        waiting = {}
        for pk, values in rows.items():
            try:
                with transaction.atomic(using=alias):
                    models.QuerySet(model, using=alias).filter(pk=pk).update(**values)
            except IntegrityError as error:
                waiting[pk], failed = values, error
        if len(waiting) == len(rows):
            raise failed
        rows = waiting


def behind(alias):
    """Yield a line if a shard has an older version of the tables than ``default``."""
    if version_of(alias) != version_of(DEFAULT_DB_ALIAS):
        yield f"{alias} has older reference tables than default. Run sync_reference."


def refill(using, plan=None, **kwargs):
    """Receive ``post_migrate``: copy the tables to a shard after its last migration, or its flush.

    After a flush of ``default``, the shards are behind, until ``sync_reference`` or the next write.
    """
    if using not in settings.SHARDS or not (has_tables(DEFAULT_DB_ALIAS) and has_tables(using)):
        return
    if plan is None or not difference(using)[0]:  # flush passes no plan
        copy_or_log(using)


def has_tables(alias):
    """Return whether a database has the reference tables. A test may not query each database."""
    try:
        tables = connections[alias].introspection.table_names()
    except (AssertionError, DatabaseError):
        return False
    return {model._meta.db_table for model in [Version, *reference_models()]} <= set(tables)
