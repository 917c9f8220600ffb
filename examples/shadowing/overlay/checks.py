"""System checks: what a project may have forgotten that has copied this app."""

from django.apps import apps
from django.conf import settings
from django.core import mail
from django.core.cache import caches
from django.core.checks import Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, OperationalError, connections, router

from overlay.routers import ShadowRouter, is_named, is_shadowed, names

# For each setting: its type, the description of a right value, and an example.
SETTINGS = {
    "LOCAL_DATABASE": (str, "the alias of a database", '"default"'),
    "SNAPSHOT_DATABASE": (str, "the alias of a database", '"production"'),
    "SHADOWED": (list | tuple, "a list of names", '["auth", "sessions"], or [] for none'),
    "OVERLAID": (list | tuple, "a list of names", '["auth.Group"], or [] for none'),
}
# The models whose tables `migrate` fills, with keys in the order in which it makes the rows; and
# the fields by which two rows are compared.
MADE_BY_MIGRATE = {
    "contenttypes.ContentType": ["app_label", "model"],
    "auth.Permission": ["content_type_id", "codename"],
}


def require_settings():
    """Raise ImproperlyConfigured if a setting is missing, or has a wrong type.

    This is no system check: Django's own checks may ask the router first, and the router needs
    these settings.
    """
    for name, (kind, what, example) in SETTINGS.items():
        value = getattr(settings, name, None)
        if not isinstance(value, kind) or not all(isinstance(item, str) for item in value):
            raise ImproperlyConfigured(
                f"{name} must be {what}, not {value!r}. Write {name} = {example}"
            )


def check_settings(**kwargs):
    """Check the names in the settings. If they are right, check the rest of the configuration."""
    return [*aliases(), *labels()] or list(over_a_snapshot())


def aliases():
    if not (settings.SHADOWED or settings.OVERLAID):
        return  # nothing is shadowed, as in production's own settings, which have no snapshot
    for name in ("LOCAL_DATABASE", "SNAPSHOT_DATABASE"):
        alias = getattr(settings, name)
        if alias not in settings.DATABASES:
            yield Error(
                f'{name} names "{alias}", which is not in DATABASES.',
                hint=f'Add "{alias}" to DATABASES. In settings that shadow nothing, such as '
                "production's, write SHADOWED = OVERLAID = []",
                id="overlay.E002",
            )


def model_of(label):
    """Return the model with this label, or None."""
    try:
        return apps.get_model(label)
    except (LookupError, ValueError):
        return None


def labels():
    # DatabaseCache asks the router with an object that is no real model, and belongs to no app.
    stand_ins = [
        cache.cache_model_class for cache in caches.all() if hasattr(cache, "cache_model_class")
    ]
    for name in ("SHADOWED", "OVERLAID"):
        for label in getattr(settings, name):
            model = model_of(label)
            if model and model._meta.proxy:
                yield Error(
                    f'{name} names "{label}", a proxy model, which has no table.',
                    hint=f"Name {model._meta.concrete_model._meta.label} instead.",
                    id="overlay.E003",
                )
            elif name == "SHADOWED" and not any(
                is_named([label], *names(each)) for each in [*apps.get_models(), *stand_ins]
            ):
                yield Error(
                    f'SHADOWED names "{label}", which is not a model, and not an app with models.',
                    hint='Name a model, such as "auth.User", or an app, such as "auth", for all of '
                    "its models.",
                    id="overlay.E003",
                )
            elif name == "OVERLAID" and model is None:
                yield Error(
                    f'OVERLAID names "{label}", which is not a model.',
                    hint='Name models, such as "auth.User".',
                    id="overlay.E003",
                )
            elif name == "OVERLAID" and is_shadowed(model):
                yield Error(
                    f"{label} is in both SHADOWED and OVERLAID.",
                    hint="Remove it, or its app, from one of these settings.",
                    id="overlay.E004",
                )


def over_a_snapshot():
    local, snapshot = settings.LOCAL_DATABASE, settings.SNAPSHOT_DATABASE
    if snapshot not in settings.DATABASES:
        return
    wrong = [
        model._meta.label
        for model in apps.get_models()
        if not model._meta.proxy
        and (
            router.allow_migrate_model(snapshot, model)
            or router.allow_migrate_model(local, model) != is_shadowed(model)
        )
    ]
    if wrong:
        yield Error(
            "The routers don't follow SHADOWED and OVERLAID: `migrate` would make or omit the "
            f"wrong tables, for example the table of {wrong[0]}.",
            hint='Write DATABASE_ROUTERS = ["overlay.routers.ShadowRouter"]. Put your own router, '
            "for models of another database, before it.",
            id="overlay.E005",
        )
    here = ShadowRouter().is_local
    for model in apps.get_models():
        for parent in {} if model._meta.proxy else model._meta.parents:
            if here(model) != here(parent):
                one, other = (model, parent) if here(model) else (parent, model)
                yield Error(
                    f"{one._meta.label} is local, but {other._meta.label} is not. Each object of "
                    f"{model.__name__} has a row in both tables.",
                    hint="Name both models in SHADOWED or OVERLAID, or name neither.",
                    id="overlay.E010",
                )
    if settings.OVERLAID and not hasattr(connections[local], "make_overlay"):
        yield Error(
            f'OVERLAID names models, but the engine of database "{local}" can\'t overlay rows.',
            hint=f'On SQLite, write "ENGINE": "overlay.backend" in DATABASES["{local}"]. On '
            "another engine, name the models in SHADOWED, and write OVERLAID = []",
            id="overlay.E006",
        )
    elif settings.OVERLAID and connections[snapshot].vendor != "sqlite":
        yield Error(
            f'OVERLAID names models, but the snapshot, database "{snapshot}", is not on SQLite.',
            hint="Name these models in SHADOWED instead, and write OVERLAID = []",
            id="overlay.E006",
        )
    name = str(connections[snapshot].settings_dict["NAME"])
    is_read_only = "mode=ro" in name or "mode=memory" in name  # a test database is in memory
    if connections[snapshot].vendor == "sqlite" and not is_read_only:
        yield Warning(
            f'Database "{snapshot}", the snapshot, can be written to: a write by '
            f'`using("{snapshot}")` does not ask the router.',
            hint="Open it read-only. If SNAPSHOT is the path of its file, write in "
            f'DATABASES["{snapshot}"]: "NAME": f"{{SNAPSHOT.as_uri()}}?mode=ro"',
            id="overlay.W009",
        )


def check_databases(databases=None, **kwargs):
    """Check the contents of the databases. ``migrate`` runs this check before it starts."""
    if [*aliases(), *labels()]:
        return []
    for alias in databases or []:
        if hasattr(connections[alias], "attach_snapshot"):
            try:
                connections[alias].ensure_connection()
            except OperationalError as error:
                return [Error(str(error), id="overlay.E001")]
    if settings.LOCAL_DATABASE not in (databases or []) or hasattr(mail, "outbox"):
        return []  # `outbox` is there in a test run, which has another local database
    snapshot = settings.SNAPSHOT_DATABASE
    if snapshot not in settings.DATABASES:
        return []
    try:
        connections[snapshot].ensure_connection()
    except OperationalError as error:
        message = f'Database "{snapshot}" (the snapshot): {" ".join(str(error).split())}'
        return [Error(message, id="overlay.E001")]
    return list(keys())


def shadowed_by_migrate():
    return [label for label in MADE_BY_MIGRATE if (model := model_of(label)) and is_shadowed(model)]


def keys():
    shadowed = shadowed_by_migrate()
    for label in shadowed:
        model = model_of(label)
        # Content types are always checked: any table that is copied later may refer to them.
        if label == "auth.Permission" and all(
            is_shadowed(field.related_model)
            for field in model._meta.get_fields(include_hidden=True)
            if field.auto_created and not field.concrete
        ):
            continue
        try:
            here, there = (
                set(model.objects.using(alias).values_list("pk", *MADE_BY_MIGRATE[label]))
                for alias in (settings.LOCAL_DATABASE, settings.SNAPSHOT_DATABASE)
            )
        except DatabaseError:
            continue  # the table is not made yet
        if differing := len(there - here):
            yield Error(
                f"{differing} of the snapshot's {len(there)} rows of {label} are missing or "
                "different in the local table, but other rows of the snapshot refer to their keys.",
                hint=f"Run: python manage.py shadow {' '.join(shadowed)} --replace",
                id="overlay.E008",
            )
