"""System checks for a project that has copied this app."""

from os import PathLike

from django.apps import apps
from django.conf import settings
from django.core.checks import Error, Warning
from django.core.exceptions import FieldDoesNotExist
from django.db import DEFAULT_DB_ALIAS, connections, models, router

from sharding.buckets import Bucket, MapVersion
from sharding.errors import some
from sharding.fences.models import HeldBucket
from sharding.fields import KeyField, shard_keys
from sharding.keys import BUCKETS, WORKER_BITS
from sharding.models import Sharded, ShardedQuerySet

WORKERS = 1 << WORKER_BITS


def shards_are_right():
    return bool(settings.SHARDS) and not check_shards()


def models_of_sharded_apps():
    """Return the models that must inherit from Sharded, whether they do or not."""
    labels = set(settings.SHARDED_APPS) - {"fences"}  # need not be named, and is never moved
    return [model for model in apps.get_models() if model._meta.app_label in labels]


def check_shards(**kwargs):
    """Check that ``SHARDS`` names databases, each once, and not ``default``."""
    shards = settings.SHARDS
    errors = [
        Error(
            f'SHARDS names "{alias}", which is not in DATABASES.',
            hint=f'Add an entry "{alias}" to DATABASES, or remove the name from SHARDS.',
            id="sharding.E001",
        )
        for alias in shards
        if alias not in settings.DATABASES
    ]
    if len(set(shards)) < len(shards):
        errors.append(
            Error(
                "SHARDS names a shard twice.",
                hint="Write each alias once.",
                id="sharding.E002",
            )
        )
    if DEFAULT_DB_ALIAS in shards:
        errors.append(
            Error(
                f'SHARDS names "{DEFAULT_DB_ALIAS}", which has the tables that are not sharded.',
                hint=f'Remove it from SHARDS. A shard can be on the same server as "'
                f'{DEFAULT_DB_ALIAS}", but must be another database.',
                id="sharding.E003",
            )
        )
    return errors


def check_apps(**kwargs):
    """Check ``SHARDED_APPS``, and that the fence is installed."""
    installed = {config.label for config in apps.get_app_configs()}
    errors = [
        Error(
            f'SHARDED_APPS names "{label}", but no installed app has this label.',
            hint=f"Remove it, or write one of: {', '.join(sorted(installed))}.",
            id="sharding.E008",
        )
        for label in sorted(set(settings.SHARDED_APPS) - installed)
    ]
    if not apps.is_installed("sharding.fences"):
        errors.append(
            Error(
                "The app sharding.fences is not installed, so no shard accepts writes.",
                hint='Add "sharding.fences" to INSTALLED_APPS, after "sharding".',
                id="sharding.E010",
            )
        )
    if getattr(settings, "REFERENCE_APPS", ()) and not apps.is_installed("sharding.reference"):
        errors.append(
            Error(
                "The app sharding.reference is not installed, so no reference table is copied.",
                hint='Add "sharding.reference" to INSTALLED_APPS, after "sharding.fences".',
                id="sharding.E026",
            )
        )
    return errors


def check_router(**kwargs):
    """Check that the routers return the shard of the hint for the models on shards."""
    if not shards_are_right():
        return []  # check_shards reports it
    wanted = settings.SHARDS[-1]
    for model in [HeldBucket, *models_of_sharded_apps()]:
        found = router.db_for_write(model, shard=wanted)
        tables = [alias for alias in connections if router.allow_migrate_model(alias, model)]
        # Other databases may have the table, too, but no query of the app goes there.
        lacking = set(settings.SHARDS) - set(tables)
        if found != wanted or lacking or DEFAULT_DB_ALIAS in tables:
            return [
                Error(
                    f'For {model._meta.label} with the hint shard="{wanted}" the routers return '
                    f'"{found}", and they create its table on: '
                    f"{', '.join(tables) or 'no database'}. They must return the shard that the "
                    "hint names, and create the table on all shards.",
                    hint='Write DATABASE_ROUTERS = ["sharding.routers.ShardRouter"]. Another '
                    "router must come after it, or return None for the models of SHARDED_APPS.",
                    id="sharding.E009",
                )
            ]
    return []


def check_models(**kwargs):
    """Check that the rows of sharded apps can be found and moved."""
    if not settings.SHARDS:
        return []
    errors = []
    for model in models_of_sharded_apps():
        label = model._meta.label
        if not isinstance(model._meta.pk, KeyField) or not issubclass(model, Sharded):
            errors.append(
                Error(
                    f"{label} is in an app of SHARDED_APPS, but is not a Sharded model whose "
                    "primary key is a KeyField. Queries and reshard need both to find its rows.",
                    hint=f"Write class {model.__name__}(Sharded), from sharding.models, with id = "
                    'KeyField(), or KeyField(of="the foreign key to the row that it belongs to"). '
                    "Or move the model to an app that is not in SHARDED_APPS.",
                    id="sharding.E011",
                )
            )
        errors += [
            Error(
                f"{label}.{field.name} has no through=. Django creates its table without a "
                "KeyField, so reshard would not move its rows.",
                hint="Write a Sharded model for that table, with id = KeyField(of=…) and the two "
                f"foreign keys. Then name it: {field.name} = ManyToManyField(…, through=…).",
                id="sharding.E012",
            )
            for field in model._meta.local_many_to_many
            if field.remote_field.through._meta.auto_created
        ]
        errors += [
            Error(
                f"{label} requires {' and '.join(names)} to be unique, but a shard can check this "
                "only for its own rows.",
                hint="Add the foreign key to the parent row, so that it is unique for each parent. "
                "Or, if it must be unique over all shards, use a table in default, as the app "
                "directory does.",
                id="sharding.E019",
            )
            for names in unique_without_key(model)
        ]
        if not all(
            isinstance(manager.get_queryset(), ShardedQuerySet) for manager in managers(model)
        ):
            errors.append(
                Error(
                    f"{label} has a manager that doesn't find the shard from the keys in a query.",
                    hint="Write class MyManager(ShardedManager), or "
                    "objects = MyQuerySet.as_manager() with class MyQuerySet(ShardedQuerySet). "
                    "Both are in sharding.models.",
                    id="sharding.E020",
                )
            )
    return errors


def managers(model):
    """Return the managers of a Sharded model. For other models, E011 is the error."""
    return [*model._meta.managers, model._meta.base_manager] if issubclass(model, Sharded) else []


def unique_without_key(model):
    """Yield the names of unique fields without a key.

    Together with the row's key or its parent's, values are unique on one shard, and so on all.
    """
    if not isinstance(model._meta.pk, KeyField) or model._meta.proxy:
        return
    try:
        keys = {field.name for field in shard_keys(model)}
    except FieldDoesNotExist:
        return  # E014 reports it
    for field in model._meta.local_fields:
        if field.unique and field.name not in keys:
            yield [field.name]
    for names in model._meta.unique_together:
        if not keys.intersection(names):
            yield list(names)
    for constraint in model._meta.constraints:
        if isinstance(constraint, models.UniqueConstraint):
            names = list(constraint.fields)
            for expression in constraint.expressions:
                column = getattr(expression, "expression", expression)  # of F("name").desc()
                names.append(column.name if isinstance(column, models.F) else str(expression))
            if not keys.intersection(names):
                yield names


def check_keys(**kwargs):
    """Check of each KeyField that its app is sharded, and that ``of`` names a sharded parent."""
    errors = []
    for model in apps.get_models():
        key, label = model._meta.pk, model._meta.label
        if not isinstance(key, KeyField):
            continue
        if model._meta.app_label not in settings.SHARDED_APPS:
            errors.append(
                Error(
                    f"{label} has a KeyField, but its app is not in SHARDED_APPS.",
                    hint=f'Add "{model._meta.app_label}" to SHARDED_APPS.',
                    id="sharding.E013",
                )
            )
        if key.of is not None and not is_key_to_sharded(model, key.of):
            errors.append(
                Error(
                    f'{label}.{key.name} has of="{key.of}", which is not a foreign key to a '
                    "sharded model.",
                    hint="Write the name of the foreign key to the parent row: "
                    'id = KeyField(of="author"). A model without a parent has KeyField().',
                    id="sharding.E014",
                )
            )
    return errors


def is_key_to_sharded(model, name):
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    return isinstance(field, models.ForeignKey) and isinstance(
        field.related_model._meta.pk, KeyField
    )


def check_workers(**kwargs):
    """Check the settings of the worker numbers, with which processes make keys."""
    errors = []
    numbers = getattr(settings, "KEY_WORKERS", None)
    try:
        right = len(numbers) > 0 and all(0 <= number < WORKERS for number in numbers)
    except TypeError:
        right = False
    if not right:
        errors.append(
            Error(
                f"KEY_WORKERS must be numbers from 0 to {WORKERS - 1}, not {numbers!r}.",
                hint="Write the numbers of this host, such as KEY_WORKERS = range(64). Each other "
                "host needs different numbers.",
                id="sharding.E015",
            )
        )
    folder = getattr(settings, "KEY_WORKERS_DIR", None)
    if not isinstance(folder, str | PathLike) or not folder:
        errors.append(
            Error(
                f"KEY_WORKERS_DIR must be the path of a folder, not {folder!r}.",
                hint='Write KEY_WORKERS_DIR = BASE_DIR / ".workers", or another folder of this '
                "host that is never emptied.",
                id="sharding.E016",
            )
        )
    return errors


def check_transactions(**kwargs):
    """Check that transactions on SQLite wait for each other. With Django's default, some fail."""
    if not shards_are_right():
        return []  # check_shards reports it
    return [
        Warning(
            f'A transaction on "{alias}" that reads and then writes fails if another transaction '
            "has written in between.",
            hint=f'Write in DATABASES["{alias}"]: "OPTIONS": {{"transaction_mode": "IMMEDIATE"}}',
            id="sharding.W017",
        )
        for alias in [DEFAULT_DB_ALIAS, *settings.SHARDS]
        if connections[alias].vendor == "sqlite"
        and connections[alias].settings_dict["OPTIONS"].get("transaction_mode") != "IMMEDIATE"
    ]


def check_map(databases=None, **kwargs):
    """Check that the map has each bucket, on one of ``SHARDS``."""
    if DEFAULT_DB_ALIAS not in (databases or ()) or not shards_are_right():
        return []
    tables = connections[DEFAULT_DB_ALIAS].introspection.table_names()
    if Bucket._meta.db_table not in tables:
        return []  # not migrated yet
    entries = dict(Bucket.objects.using(DEFAULT_DB_ALIAS).values_list("number", "alias"))
    if not entries and not MapVersion.objects.using(DEFAULT_DB_ALIAS).exists():
        return [
            Warning(  # an error would stop migrate too
                "There is no shard map yet.",
                hint="Run migrate, which makes the map: python manage.py migrate",
                id="sharding.W007",
            )
        ]
    restore = "Restore the table sharding_bucket from a backup of its database."
    errors = []
    if missing := sorted(set(range(BUCKETS)) - entries.keys()):
        errors.append(
            Error(f"The shard map lacks bucket {some(missing)}.", hint=restore, id="sharding.E004")
        )
    if foreign := sorted(entries.keys() - set(range(BUCKETS))):
        errors.append(
            Error(
                f"The shard map has bucket {some(foreign)}, but the last is {BUCKETS - 1}.",
                hint=restore,
                id="sharding.E005",
            )
        )
    for alias in sorted(set(entries.values()) - set(settings.SHARDS)):
        buckets = sorted(number for number in entries if entries[number] == alias)
        errors.append(
            Error(
                f'The shard map has bucket {some(buckets)} on "{alias}", which is not in SHARDS.',
                hint=f'Add "{alias}" to SHARDS. Before you remove a shard, move its buckets to '
                "other shards with reshard.",
                id="sharding.E006",
            )
        )
    return errors
