"""All databases on PostgreSQL: see tests/engines.py."""

from shop.settings import *  # noqa: F403
from shop.settings import DATABASES
from tests.engines import POSTGRESQL, on

DATABASES = {alias: on(POSTGRESQL, alias, database) for alias, database in DATABASES.items()}
