"""Settings with all databases on PostgreSQL: see tests/engines.py.

A test of replication starts separate servers, which replicate: see tests/servers.py.
"""

from shop.settings import *  # noqa: F403
from shop.settings import DATABASES, INSTALLED_APPS
from tests.engines import POSTGRESQL, on

DATABASES = {alias: on(POSTGRESQL, alias, database) for alias, database in DATABASES.items()}
REPLICA_POSITION = "replicas.positions.PostgresPosition"
INSTALLED_APPS = [app for app in INSTALLED_APPS if app != "replication"]
