from contextlib import contextmanager

from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError
from django.db import DatabaseError


@contextmanager
def errors_in_one_line():
    """Run a command's block; what a database or a setting fails it by becomes a CommandError."""
    try:
        yield
    except (DatabaseError, ImproperlyConfigured) as error:
        raise CommandError(" ".join(str(error).split())) from error
