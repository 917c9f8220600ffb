"""All databases on MariaDB: see tests/engines.py.

Nearly all tests start servers of their own, which replicate: see tests/servers.py, tests/shops.py.
"""

from shop.settings import *  # noqa: F403
from shop.settings import DATABASES, INSTALLED_APPS
from tests.engines import MARIADB, on

DATABASES = {alias: on(MARIADB, alias, database) for alias, database in DATABASES.items()}
REPLICA_POSITION = "replicas.positions.MariaDBPosition"
INSTALLED_APPS = [app for app in INSTALLED_APPS if app != "replication"]
