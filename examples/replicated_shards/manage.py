#!/usr/bin/env python
import os
import sys
from traceback import walk_tb

from django.core.management import execute_from_command_line
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    try:
        execute_from_command_line(sys.argv)
    except OperationalError as error:
        # No server, no such database, a wrong password: one line says which database it is. With a
        # single database nobody would have to ask, and Django's traceback does not say.
        for frame, _ in walk_tb(error.__traceback__):
            database = frame.f_locals.get("self")
            if frame.f_code.co_name == "connect" and isinstance(database, BaseDatabaseWrapper):
                said, name = " ".join(str(error).split()), database.settings_dict["NAME"]
                sys.exit(f'CommandError: Database "{database.alias}" ({name}): {said}')
        raise
