"""The settings of the tests in ``outbox/``. ``UNDER`` names the settings of the engine."""

import os
from importlib import import_module

from shop.with_orders import *  # noqa: F403

DATABASES = import_module(os.environ.get("UNDER", "shop.settings")).DATABASES
for database in DATABASES.values():
    if database["ENGINE"].endswith("sqlite3"):
        # Several processes write, and each COMMIT would wait for the disk.
        pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF"
        database["OPTIONS"] = {"timeout": 30, "init_command": pragmas}
    else:
        # These test databases must not be those of the test run that starts this one.
        database["TEST"] = database.get("TEST", {}) | {"NAME": f"test_{database['NAME']}_orders"}
