"""A system check for a project that has copied this app."""

from django.apps import apps
from django.conf import settings
from django.core.checks import Error
from django.core.exceptions import FieldDoesNotExist

from sharding.models import Sharded


def check_owner(**kwargs):
    """Check that ``DIRECTORY_OWNER`` names a sharded model, with a field ``email``."""
    name = getattr(settings, "DIRECTORY_OWNER", None)
    try:
        model = apps.get_model(name)
        model._meta.get_field("email")
        if issubclass(model, Sharded):
            return []
    except (AttributeError, LookupError, ValueError, FieldDoesNotExist):
        pass
    return [
        Error(
            f'DIRECTORY_OWNER must name a sharded model with a field "email", not {name!r}.',
            hint='Write the app label and the name of the model: DIRECTORY_OWNER = "notes.Member"',
            id="directory.E001",
        )
    ]
