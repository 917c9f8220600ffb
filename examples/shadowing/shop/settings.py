"""A developer's settings: a local database over a snapshot of production.

Nothing here knows where production itself is: its settings are ``shop/live.py``.
"""

from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SNAPSHOT = BASE_DIR / "snapshot.sqlite3"  # made by `manage.py snapshot --settings=shop.live`
VENDOR = BASE_DIR / "vendor.sqlite3"  # the supplier's: not ours to change

DATABASES = {
    "default": {
        # Django's SQLite backend, with the snapshot attached (read-only).
        "ENGINE": "overlay.backend",
        "NAME": BASE_DIR / "local.sqlite3",
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},
    },
    "production": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"{SNAPSHOT.as_uri()}?mode=ro",
    },
    "vendor": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"{VENDOR.as_uri()}?mode=ro",
    },
}
LOCAL_DATABASE, SNAPSHOT_DATABASE = "default", "production"  # their aliases
DATABASE_ROUTERS = ["shop.routers.VendorRouter", "overlay.routers.ShadowRouter"]

# Whole tables that are local, by model, or by the label of an app for all of its models. A
# developer has users and sessions of their own.
SHADOWED = ["admin", "auth", "contenttypes", "sessions", "reviews.Review"]
# Local rows over the snapshot's.
OVERLAID = ["products.Category", "products.Product", "listings.Listing"]
# Of all other models the snapshot is read, and nothing is written.

# What no snapshot holds. A column's text stands in for the one that was there, with {pk} for the
# row's key; None empties a column, or in place of the columns the whole table.
PERSONAL = {
    "customers.Customer": {
        "name": "Customer {pk}",
        "email": "customer{pk}@clocks.example",
        "phone": None,
    },
    "auth.User": {
        "username": "user{pk}",
        "password": "!",  # fits no password
        "first_name": "",
        "last_name": "",
        "email": "",
    },
    "admin.LogEntry": None,
    "sessions.Session": None,
}

# For a shop on your own machine: one on the internet needs a secret key and DEBUG = False.
SECRET_KEY = "not a secret"
DEBUG = True

INSTALLED_APPS = [
    "shop",  # for its templates and its stylesheet: it has no models
    "products",
    "reviews",
    "customers",
    "vendor",
    "listings",
    "overlay",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "shop.middleware.QueryLogMiddleware",  # first, so that it sees the queries of all the others
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

ROOT_URLCONF = "shop.urls"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

STATIC_URL = "static/"
TIME_ZONE = "UTC"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "product_list"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
