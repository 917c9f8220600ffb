"""All databases on MariaDB: see tests/engines.py."""

from shop.settings import *  # noqa: F403
from shop.settings import DATABASES
from tests.engines import MARIADB, on

DATABASES = {alias: on(MARIADB, alias, database) for alias, database in DATABASES.items()}
