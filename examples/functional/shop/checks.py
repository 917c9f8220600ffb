from django.apps import apps
from django.core.checks import Error
from django.db import router


def home(model):
    """Return the alias of the database that the router writes a model to."""
    return router.db_for_write(model)


def crossing_foreign_keys(app_configs, **kwargs):
    """Name each foreign key, or many-to-many, whose two ends are in two databases.

    Its own table too: a constraint may be left out by ``db_constraint=False``, but a join, a
    cascade and ``select_related()`` still look for both ends in one database.
    """
    for model in apps.get_models(include_auto_created=True):
        for field in model._meta.local_fields:
            other = field.remote_field and field.related_model
            if not other or isinstance(other, str):
                continue  # a text is the name of what is not installed: Django says so
            if home(other) != home(model):
                yield Error(
                    f"{model._meta.label}.{field.name} is a foreign key from database "
                    f'"{home(model)}" to {other._meta.label} in "{home(other)}".',
                    hint="Replace it by a plain field that holds the key, or give both models one "
                    "database.",
                    obj=model,
                    id="shop.E001",
                )
