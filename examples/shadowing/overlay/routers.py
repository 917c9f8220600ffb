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


def is_shadowed(model):
    return is_named(settings.SHADOWED, model._meta.app_label, model._meta.model_name)


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
        named = model._meta.app_label, model._meta.model_name
        return is_named(settings.SHADOWED, *named) or is_named(settings.OVERLAID, *named)

    def db_for_read(self, model, **hints):
        return settings.LOCAL_DATABASE if self.is_local(model) else settings.SNAPSHOT_DATABASE

    def db_for_write(self, model, **hints):
        if not self.is_local(model):
            raise NotLocal(
                f"{model._meta.label} is read from the snapshot, and not written. To try changes "
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
