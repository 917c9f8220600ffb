"""``default`` on PostgreSQL, the shards on SQLite: see tests/engines.py."""

from shop.settings import *  # noqa: F403
from shop.settings import DATABASES
from tests.engines import POSTGRESQL, on

DATABASES |= {"default": on(POSTGRESQL, "default", DATABASES["default"])}
