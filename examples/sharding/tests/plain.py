"""The settings of ``test_plain.py``: no shards. ``PLAIN_OF`` names the settings of the engine."""

import os
from importlib import import_module

globals().update(vars(import_module(os.environ["PLAIN_OF"])))

SHARDS = []
DATABASE_ROUTERS = os.environ["PLAIN_ROUTERS"].split()
# The test databases of these settings must not be those of the test run that starts this one, nor
# those of another worker of pytest-xdist.
END = f"plain_{os.environ.get('PYTEST_XDIST_WORKER', '')}"
DATABASES = {  # noqa: F821
    alias: database | {"NAME": f"{database['NAME']}_{END}"}
    for alias, database in (("default", DATABASES["default"]), ("customers", DATABASES["shard0"]))  # noqa: F821
}


class CustomersRouter:
    """Separation by function: the app ``customers`` has its own database."""

    def db_for_read(self, model, **hints):
        return "customers" if model._meta.app_label == "customers" else None

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints):
        return app_label == "customers" if db == "customers" else None
