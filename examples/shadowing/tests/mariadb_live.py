"""Production's settings, beside those of a developer in tests/mariadb.py."""

from shop.live import *  # noqa: F403
from shop.live import DATABASES
from tests.engines import MARIADB
from tests.read_only import on

DATABASES = {
    "default": on(MARIADB, "live", DATABASES["default"]),
    "vendor": on(MARIADB, "vendor", DATABASES["vendor"]),
}
