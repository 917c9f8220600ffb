#!/usr/bin/env python
import os
import sys
import threading
from traceback import walk_tb

from django.core.management import execute_from_command_line
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper


def print_error(kind, error, traceback):
    """Print one line when the connection to a database fails. Otherwise print the traceback.

    The server may be down, the database may be missing, or the password may be wrong. Django's
    traceback does not name the database.
    """
    for frame, _ in walk_tb(traceback) if kind is OperationalError else ():
        database = frame.f_locals.get("self")
        if frame.f_code.co_name == "connect" and isinstance(database, BaseDatabaseWrapper):
            name, said = database.settings_dict["NAME"], " ".join(str(error).split())
            print(f'CommandError: Database "{database.alias}" ({name}): {said}', file=sys.stderr)
            return
    sys.__excepthook__(kind, error, traceback)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    sys.excepthook = print_error
    threading.excepthook = lambda thread: print_error(*thread[:3])  # runserver's reloader has one
    execute_from_command_line(sys.argv)
