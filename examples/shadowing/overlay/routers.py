from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError


class NotLocal(DatabaseError):
    """A write to a model that is read from the snapshot."""


def is_named(setting, app_label, model_name=None):
    """Whether a setting names the model, or its app; without a model, any model of the app."""
    for name in setting:
        app, _, model = name.lower().partition(".")
        if app == app_label.lower() and (not model or model_name in (None, model)):
            return True
    return False


def names(model):
    """Return the label of an app and the name of the model whose table a model's rows are in.

    Of a proxy, those of the model that it is a proxy of. What DatabaseCache asks with is a stand-in
    for a model, and has little more than these two.
    """
    meta = getattr(model._meta, "concrete_model", model)._meta
    return meta.app_label, meta.model_name


def is_shadowed(model):
    return is_named(settings.SHADOWED, *names(model))


class ShadowRouter:
    """Shadowing: what is shadowed or overlaid is local, and all else is the snapshot's.

    The model alone decides. An instance that was read from the snapshot must not draw the write
    of a changed copy, or the lookup of what it is related to, to where it came from.
    """

    def __init__(self):
        if not apps.is_installed("overlay"):
            raise ImproperlyConfigured(
                'ShadowRouter needs its app: add "overlay" to INSTALLED_APPS.'
            )

    def is_local(self, model):
        return is_shadowed(model) or is_named(settings.OVERLAID, *names(model))

    def db_for_read(self, model, **hints):
        return settings.LOCAL_DATABASE if self.is_local(model) else settings.SNAPSHOT_DATABASE

    def db_for_write(self, model, **hints):
        if not self.is_local(model):
            # A stand-in for a model has no `label`.
            concrete = getattr(model._meta, "concrete_model", model)
            label = getattr(concrete._meta, "label", ".".join(names(model)))
            raise NotLocal(
                f"{label} is read from the snapshot, and not written. To try changes "
                "out, name it in the setting SHADOWED (its whole table is then local) or OVERLAID "
                "(only the rows that you change are)."
            )
        return settings.LOCAL_DATABASE

    def allow_relation(self, obj1, obj2, **hints):
        # Wherever the two were read: the keys are of one site.
        return True

    def allow_migrate(self, db, app_label, model_name=None, **hints):
        # The overlaid tables are made by the overlay. RunPython and RunSQL come without a model.
        return db == settings.LOCAL_DATABASE and is_named(settings.SHADOWED, app_label, model_name)
