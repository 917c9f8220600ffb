"""All databases on MariaDB: see tests/engines.py.

A test that is about replication starts servers of its own, which replicate: see tests/servers.py.
"""

from shop.settings import *  # noqa: F403
from shop.settings import DATABASES, INSTALLED_APPS
from tests.engines import MARIADB, on

DATABASES = {alias: on(MARIADB, alias, database) for alias, database in DATABASES.items()}
REPLICA_POSITION = "replicas.positions.MariaDBPosition"
INSTALLED_APPS = [app for app in INSTALLED_APPS if app != "replication"]
# A copy's server need not have a log: what is about replicas has servers of its own.
SILENCED_SYSTEM_CHECKS = ["replicas.W016"]
