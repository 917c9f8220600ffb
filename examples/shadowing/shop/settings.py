"""A developer's settings: a local database over a snapshot of production.

These settings do not contain production's own database: that is in ``shop/live.py``.
"""

from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SNAPSHOT = BASE_DIR / "snapshot.sqlite3"  # made by `manage.py snapshot --settings=shop.live`
VENDOR = BASE_DIR / "vendor.sqlite3"  # the supplier's: we can't change it

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

# Models whose whole tables are local. The label of an app stands for all of its models. A developer
# has their own users and sessions.
SHADOWED = ["admin", "auth", "contenttypes", "sessions", "reviews.Review"]
# Models that have some local rows. These rows replace the snapshot's rows.
OVERLAID = ["products.Category", "products.Product", "listings.Listing"]
# All other models are read from the snapshot, and can't be written.

# Masked or left out in the snapshot. The text replaces the column's values; {pk} is the row's key.
# None makes a column NULL. None for a whole model leaves out all of its rows.
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
# Columns that are copied into the snapshot as they are. Keys need not be named. If a column is in
# neither setting, for example a new column, the command `snapshot` stops.
HARMLESS = {
    "auth.Group": ["name"],
    "auth.Permission": ["name", "codename"],
    "auth.User": ["last_login", "is_superuser", "is_staff", "is_active", "date_joined"],
    "contenttypes.ContentType": ["app_label", "model"],
    "customers.Order": ["quantity", "placed"],
    "listings.Listing": ["article_number", "price", "blurb", "featured"],
    "products.Category": ["name"],
    "products.Product": ["code", "name", "description", "price"],
    "reviews.Review": ["rating", "text", "created"],
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
