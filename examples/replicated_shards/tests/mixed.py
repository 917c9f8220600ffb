"""``reviews`` on PostgreSQL, all else on SQLite: see tests/engines.py."""

from shop.settings import *  # noqa: F403
from shop.settings import DATABASES
from tests.engines import POSTGRESQL, on

DATABASES |= {"reviews": on(POSTGRESQL, "reviews", DATABASES["reviews"])}
