from django.apps import apps
from django.core.checks import Error
from django.db import router


def home(model):
    """Return the alias of the database that the router writes a model to."""
    return router.db_for_write(model)


def crossing_foreign_keys(app_configs, **kwargs):
    """Yield an error for each foreign key between models that are in two databases.

    The foreign keys in the table of a many-to-many field are checked, too. ``db_constraint=False``
    is no way out: joins, cascades and ``select_related()`` need both tables in one database.
    """
    for model in apps.get_models(include_auto_created=True):
        for field in model._meta.local_fields:
            other = field.remote_field and field.related_model
            if not other or isinstance(other, str):
                continue  # a string: this model is not installed, and Django's check reports that
            if home(other) != home(model):
                yield Error(
                    f"{model._meta.label}.{field.name} is a foreign key from database "
                    f'"{home(model)}" to {other._meta.label} in "{home(other)}".',
                    hint="Replace the foreign key by a plain field that stores the key, or put "
                    "both models in one database.",
                    obj=model,
                    id="shop.E001",
                )
