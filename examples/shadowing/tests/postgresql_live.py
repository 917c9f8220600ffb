"""Production's settings, beside those of a developer in tests/postgresql.py."""

from shop.live import *  # noqa: F403
from shop.live import DATABASES
from tests.engines import POSTGRESQL
from tests.read_only import on

DATABASES = {
    "default": on(POSTGRESQL, "live", DATABASES["default"]),
    "vendor": on(POSTGRESQL, "vendor", DATABASES["vendor"]),
}
