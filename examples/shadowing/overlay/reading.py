"""``get_or_create()`` of a model that is read from the snapshot: a row that exists is found.

Django asks the router where to write before it looks for the row, so ``ShadowRouter`` alone would
refuse both. A related manager asks by itself, and refuses: ``shelf.note_set.get_or_create()``.
"""

from django.apps import apps
from django.db import router

from overlay.routers import NotLocal


class Found:
    """Of a QuerySet: where the router refuses to write, the row is read."""

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
        # As what it was before: no other process has the class that is made below.
        return object.__new__, (self.plain,), self.__getstate__()


def find_what_exists():
    """Have the managers of each model that may not be written make such QuerySets."""
    for model in apps.get_models():
        try:
            router.db_for_write(model)
        except NotLocal:
            for manager in model._meta.managers:
                plain = manager._queryset_class
                manager._queryset_class = type(plain.__name__, (Found, plain), {"plain": plain})
