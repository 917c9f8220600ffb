"""Make ``get_or_create()`` find a row that exists, for a model that is read from the snapshot.

Django asks the router for the database to write to before it looks for the row. So without this
module ``ShadowRouter`` would raise ``NotLocal`` even if the row exists. A related manager asks the
router itself, and so ``shelf.note_set.get_or_create()`` still raises ``NotLocal``.
"""

from django.apps import apps
from django.db import router

from overlay.routers import NotLocal


class Found:
    """A mixin for a QuerySet: if the router refuses a write, look for the row in the snapshot."""

    def get_or_create(self, defaults=None, **kwargs):
        try:
            return super().get_or_create(defaults, **kwargs)
        except NotLocal as refused:
            self._for_write = False
            try:
                return self.get(**kwargs), False
            except self.model.DoesNotExist:
                raise refused from None

    def __reduce__(self):
        # Pickle it as the plain class: another process does not have the class made below.
        return object.__new__, (self.plain,), self.__getstate__()


def find_what_exists():
    """Add the mixin to the QuerySets of each model that can't be written."""
    for model in apps.get_models():
        try:
            router.db_for_write(model)
        except NotLocal:
            for manager in model._meta.managers:
                plain = manager._queryset_class
                manager._queryset_class = type(plain.__name__, (Found, plain), {"plain": plain})
