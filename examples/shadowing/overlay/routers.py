from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError


class NotLocal(DatabaseError):
    """A write to a model that is read from the snapshot."""


def is_named(setting, app_label, model_name=None):
    """Whether a setting names the model or its app. Without a model: any model of the app."""
    for name in setting:
        app, _, model = name.lower().partition(".")
        if app == app_label.lower() and (not model or model_name in (None, model)):
            return True
    return False


def names(model):
    """Return the app label and the name of the model that has the table.

    For a proxy model, this is its concrete model. DatabaseCache asks the router with an object that
    is no real model, and has little more than these two names.
    """
    meta = getattr(model._meta, "concrete_model", model)._meta
    return meta.app_label, meta.model_name


def is_shadowed(model):
    return is_named(settings.SHADOWED, *names(model))


class ShadowRouter:
    """Shadowing: shadowed and overlaid models are local, all others are read from the snapshot.

    Only the model decides, and not the database that an instance was read from: an instance from
    the snapshot is saved in the local database, and its related objects are looked up there too.
    """

    def __init__(self):
        if not apps.is_installed("overlay"):
            raise ImproperlyConfigured(
                'ShadowRouter needs the app "overlay": add "overlay" to INSTALLED_APPS.'
            )

    def is_local(self, model):
        return is_shadowed(model) or is_named(settings.OVERLAID, *names(model))

    def db_for_read(self, model, **hints):
        return settings.LOCAL_DATABASE if self.is_local(model) else settings.SNAPSHOT_DATABASE

    def db_for_write(self, model, **hints):
        if not self.is_local(model):
            # The object that DatabaseCache passes has no `label`.
            concrete = getattr(model._meta, "concrete_model", model)
            label = getattr(concrete._meta, "label", ".".join(names(model)))
            raise NotLocal(
                f"{label} is read from the snapshot, so it can't be written. To write it, "
                "name it in the setting SHADOWED (its whole table becomes local) or OVERLAID "
                "(only the rows that you change become local)."
            )
        return settings.LOCAL_DATABASE

    def allow_relation(self, obj1, obj2, **hints):
        # A key means the same row in both databases, so rows of both may refer to each other.
        return True

    def allow_migrate(self, db, app_label, model_name=None, **hints):
        # The engine makes the overlaid tables. RunPython and RunSQL pass only the app's label.
        return db == settings.LOCAL_DATABASE and is_named(settings.SHADOWED, app_label, model_name)
