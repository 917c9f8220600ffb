"""Production and its snapshot on PostgreSQL, all else on SQLite: see tests/engines.py.

A snapshot on a server can't be attached to a local file. So whole tables are shadowed, without
joins, and no rows.
"""

from shop.settings import *  # noqa: F403
from shop.settings import DATABASES, OVERLAID, SHADOWED
from tests.engines import POSTGRESQL
from tests.read_only import on

DATABASES["default"]["ENGINE"] = "overlay.attached"
DATABASES["production"] = on(POSTGRESQL, "production", DATABASES["production"])
SHADOWED, OVERLAID = [*SHADOWED, *OVERLAID], []
