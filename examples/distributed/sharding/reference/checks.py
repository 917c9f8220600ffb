"""System checks of reference models, and of the foreign keys of sharded models to them."""

from django.apps import apps
from django.conf import settings
from django.core.checks import Error, Warning
from django.db import DEFAULT_DB_ALIAS, connections, models, router

from sharding.reference.models import (
    Reference,
    ReferenceQuerySet,
    foreign_keys_to,
    reference_models,
)

LARGEST = 10_000  # rows of a table: each write reads all of them, in default and on each shard


def check_apps(**kwargs):
    """Check ``REFERENCE_APPS``."""
    installed = {config.label for config in apps.get_app_configs()} - set(settings.SHARDED_APPS)
    return [
        Error(
            f'REFERENCE_APPS names "{label}", which is not installed, or is in SHARDED_APPS.',
            hint="Write the label of an installed app whose models are all reference tables.",
            id="sharding.E021",
        )
        for label in sorted(set(getattr(settings, "REFERENCE_APPS", ())) - installed)
    ]


def check_models(**kwargs):
    """Check that each write to a reference model is counted, and that its rows can be copied."""
    errors = []
    for model in reference_models():
        if not issubclass(model, Reference) or not all(
            isinstance(manager.get_queryset(), ReferenceQuerySet)
            for manager in [*model._meta.managers, model._meta.base_manager]
        ):
            errors.append(
                Error(
                    f"{model._meta.label} is in an app of REFERENCE_APPS, but writes to it would "
                    "not be copied to the shards.",
                    hint=f"Write class {model.__name__}(Reference), and a manager of your own from "
                    "ReferenceQuerySet. Both are in sharding.reference.models.",
                    id="sharding.E022",
                )
            )
        errors += [
            Error(
                f"{model._meta.label}.{field.name} is a relation, and a reference model can't have "
                "one.",
                hint="Write the value itself, such as a name or a code, as a field.",
                id="sharding.E023",
            )
            for field in [*model._meta.local_fields, *model._meta.local_many_to_many]
            if field.is_relation
        ]
        lacking = [
            alias
            for alias in [DEFAULT_DB_ALIAS, *settings.SHARDS]
            if not router.allow_migrate_model(alias, model)
        ]
        if settings.SHARDS and (lacking or router.db_for_write(model) != DEFAULT_DB_ALIAS):
            errors.append(
                Error(
                    f"For {model._meta.label} the routers must return {DEFAULT_DB_ALIAS}, and must "
                    "create its table there and on each shard.",
                    hint="Use sharding.routers.ShardRouter, or its is_reference() in your router.",
                    id="sharding.E027",
                )
            )
    return errors


def check_foreign_keys(**kwargs):
    """Check that Django never follows a foreign key to a reference model backwards.

    The rows behind it are on several shards, and Django would query one database only.
    """
    return [
        Error(
            f"{field.model._meta.label}.{field.name} refers to a reference model. Django can't "
            "follow it backwards, because these rows are on several shards.",
            hint=f"Write {field.name} = ForeignKey({model._meta.object_name}, models.DO_NOTHING, "
            'related_name="+"). A row that is referred to is protected nevertheless.',
            id="sharding.E024",
        )
        for model in reference_models()
        for field in foreign_keys_to(model)
        if field.remote_field.on_delete is not models.DO_NOTHING or not field.remote_field.hidden
    ]


def check_size(databases=None, **kwargs):
    """Warn of a reference table that is large."""
    if DEFAULT_DB_ALIAS not in (databases or ()) or not settings.SHARDS:
        return []
    tables = connections[DEFAULT_DB_ALIAS].introspection.table_names()
    return [
        Warning(
            f"{model._meta.label} has {count:,} rows, and a reference table should have at most "
            f"{LARGEST:,}. Each write compares all of them, in default and on each shard.",
            hint="Use a sharded model, or leave the table in default and query it by itself.",
            id="sharding.W025",
        )
        for model in reference_models()
        if model._meta.db_table in tables
        and (count := model._base_manager.using(DEFAULT_DB_ALIAS).count()) > LARGEST
    ]
