"""Production's settings: the shop with its one database, and the supplier's database."""

from shop.settings import *  # noqa: F403
from shop.settings import BASE_DIR, DATABASES

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "live.sqlite3",
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode = WAL",
            "transaction_mode": "IMMEDIATE",
        },
    },
    "vendor": DATABASES["vendor"],
}
DATABASE_ROUTERS = ["shop.routers.VendorRouter"]
SHADOWED = OVERLAID = []
