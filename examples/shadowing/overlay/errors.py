from contextlib import contextmanager

from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError
from django.db import DatabaseError


@contextmanager
def errors_in_one_line():
    """Run the block. An error of a database or a setting becomes a CommandError of one line."""
    try:
        yield
    except (DatabaseError, ImproperlyConfigured) as error:
        raise CommandError(" ".join(str(error).split())) from error
