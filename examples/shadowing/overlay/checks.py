"""What a project that has copied this app may have forgotten: ``manage.py check`` says it."""

from django.apps import apps
from django.conf import settings
from django.core import mail
from django.core.cache import caches
from django.core.checks import Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, OperationalError, connections, router

from overlay.routers import ShadowRouter, is_named, is_shadowed, names

# The settings, each with its type, what it is, and a usual value.
SETTINGS = {
    "LOCAL_DATABASE": (str, "the alias of a database", '"default"'),
    "SNAPSHOT_DATABASE": (str, "the alias of a database", '"production"'),
    "SHADOWED": (list | tuple, "a list of names", '["auth", "sessions"], or [] for none'),
    "OVERLAID": (list | tuple, "a list of names", '["auth.Group"], or [] for none'),
}
# What `migrate` fills by itself, with keys in the order in which it comes; and what says that two
# rows are the same.
MADE_BY_MIGRATE = {
    "contenttypes.ContentType": ["app_label", "model"],
    "auth.Permission": ["content_type_id", "codename"],
}


def require_settings():
    """Raise ImproperlyConfigured where a setting is missing, or of another type.

    Not as a check: those of Django's may ask the router first, which can't answer without them.
    """
    for name, (kind, what, example) in SETTINGS.items():
        value = getattr(settings, name, None)
        if not isinstance(value, kind) or not all(isinstance(item, str) for item in value):
            raise ImproperlyConfigured(f"{name} is not {what}: {value!r}. Write {name} = {example}")


def check_settings(**kwargs):
    """Check what the settings name; and if it is there, what has to fit it."""
    return [*aliases(), *labels()] or list(over_a_snapshot())


def aliases():
    if not (settings.SHADOWED or settings.OVERLAID):
        return  # as production's own settings are, which have no snapshot
    for name in ("LOCAL_DATABASE", "SNAPSHOT_DATABASE"):
        alias = getattr(settings, name)
        if alias not in settings.DATABASES:
            yield Error(
                f'{name} names "{alias}", which is no database.',
                hint=f'Give DATABASES an entry "{alias}". Where nothing is to be shadowed, as in '
                "production's own settings, write SHADOWED = OVERLAID = []",
                id="overlay.E002",
            )


def model_of(label):
    """Return the model that a label names, or None."""
    try:
        return apps.get_model(label)
    except (LookupError, ValueError):
        return None


def labels():
    # What DatabaseCache asks the router with is a stand-in for a model, and of no app.
    stand_ins = [
        cache.cache_model_class for cache in caches.all() if hasattr(cache, "cache_model_class")
    ]
    for name in ("SHADOWED", "OVERLAID"):
        for label in getattr(settings, name):
            model = model_of(label)
            if model and model._meta.proxy:
                yield Error(
                    f'{name} names "{label}", a proxy, which has no table of its own.',
                    hint=f"Name {model._meta.concrete_model._meta.label} in its place.",
                    id="overlay.E003",
                )
            elif name == "SHADOWED" and not any(
                is_named([label], *names(each)) for each in [*apps.get_models(), *stand_ins]
            ):
                yield Error(
                    f'SHADOWED names "{label}", which is no model, and no app that has one.',
                    hint='Name a model as in "auth.User", or by the label of an app all of its '
                    "models.",
                    id="overlay.E003",
                )
            elif name == "OVERLAID" and model is None:
                yield Error(
                    f'OVERLAID names "{label}", which is no model.',
                    hint='Name models as in "auth.User".',
                    id="overlay.E003",
                )
            elif name == "OVERLAID" and is_shadowed(model):
                yield Error(
                    f"{label} is both in SHADOWED and in OVERLAID.",
                    hint="Take it, or its app, out of one of them.",
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
            "The routers don't keep to SHADOWED and OVERLAID: `migrate` would make wrong tables, "
            f"of {wrong[0]} for one.",
            hint='Write DATABASE_ROUTERS = ["overlay.routers.ShadowRouter"]. A router of your own, '
            "for models of another database, goes before it.",
            id="overlay.E005",
        )
    here = ShadowRouter().is_local
    for model in apps.get_models():
        for parent in {} if model._meta.proxy else model._meta.parents:
            if here(model) != here(parent):
                one, other = (model, parent) if here(model) else (parent, model)
                yield Error(
                    f"{one._meta.label} is local, and {other._meta.label} is not: each object of "
                    f"{model.__name__} has a row in the tables of both.",
                    hint="Name both in SHADOWED or OVERLAID, or neither.",
                    id="overlay.E010",
                )
    if settings.OVERLAID and not hasattr(connections[local], "make_overlay"):
        yield Error(
            f'OVERLAID names models, and the engine of "{local}" overlays no rows.',
            hint=f'Write in DATABASES["{local}"]: "ENGINE": "overlay.backend". On a server no rows '
            "are overlaid: name the models in SHADOWED, and write OVERLAID = []",
            id="overlay.E006",
        )
    elif settings.OVERLAID and connections[snapshot].vendor != "sqlite":
        yield Error(
            f'OVERLAID names models, and the snapshot "{snapshot}" is not of SQLite.',
            hint="Name them in SHADOWED in its place, and write OVERLAID = []",
            id="overlay.E006",
        )
    name = str(connections[snapshot].settings_dict["NAME"])
    is_read_only = "mode=ro" in name or "mode=memory" in name  # the latter in a test run
    if connections[snapshot].vendor == "sqlite" and not is_read_only:
        yield Warning(
            f'"{snapshot}" can be written to: `using("{snapshot}")` asks no router.',
            hint=f'Write in DATABASES["{snapshot}"], for a path SNAPSHOT: '
            '"NAME": f"{SNAPSHOT.as_uri()}?mode=ro"',
            id="overlay.W009",
        )


def check_databases(databases=None, **kwargs):
    """Check what only the databases know. ``migrate`` asks this before it begins."""
    if [*aliases(), *labels()]:
        return []
    for alias in databases or []:
        if hasattr(connections[alias], "attach_snapshot"):
            try:
                connections[alias].ensure_connection()
            except OperationalError as error:
                return [Error(str(error), id="overlay.E001")]
    if settings.LOCAL_DATABASE not in (databases or []) or hasattr(mail, "outbox"):
        return []  # the latter in a test run, whose local database is another
    snapshot = settings.SNAPSHOT_DATABASE
    if snapshot not in settings.DATABASES:
        return []
    try:
        connections[snapshot].ensure_connection()
    except OperationalError as error:
        message = f'Database "{snapshot}", the snapshot: {" ".join(str(error).split())}'
        return [Error(message, id="overlay.E001")]
    return list(keys())


def shadowed_by_migrate():
    return [label for label in MADE_BY_MIGRATE if (model := model_of(label)) and is_shadowed(model)]


def keys():
    shadowed = shadowed_by_migrate()
    for label in shadowed:
        model = model_of(label)
        # Content types always: whatever table is copied next may refer to them.
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
            continue  # a table that is still to be made
        if differing := len(there - here):
            yield Error(
                f"{differing} of the snapshot's {len(there)} rows of {label} are not the same "
                "here, and its other rows refer to them by key.",
                hint=f"Run: python manage.py shadow {' '.join(shadowed)} --replace",
                id="overlay.E008",
            )
