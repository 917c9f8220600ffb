"""All databases on PostgreSQL: see tests/engines.py. Whole tables are shadowed, and no rows."""

from shop.settings import *  # noqa: F403
from shop.settings import DATABASES, OVERLAID, SHADOWED
from tests.engines import POSTGRESQL
from tests.read_only import on

DATABASES = {alias: on(POSTGRESQL, alias, database) for alias, database in DATABASES.items()}
# No server overlays rows: what has local rows on SQLite is local as a whole.
SHADOWED, OVERLAID = [*SHADOWED, *OVERLAID], []
