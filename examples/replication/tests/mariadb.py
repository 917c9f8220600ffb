"""Settings with all databases on MariaDB: see tests/engines.py.

A test of replication starts separate servers, which replicate: see tests/servers.py.
"""

from shop.settings import *  # noqa: F403
from shop.settings import DATABASES, INSTALLED_APPS
from tests.engines import MARIADB, on

DATABASES = {alias: on(MARIADB, alias, database) for alias, database in DATABASES.items()}
REPLICA_POSITION = "replicas.positions.MariaDBPosition"
INSTALLED_APPS = [app for app in INSTALLED_APPS if app != "replication"]
# This server may have no binary log. The tests of replication start separate servers with a log.
SILENCED_SYSTEM_CHECKS = ["replicas.W016"]
