from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

# One database, on SQLite. With an engine that shards by itself, "default" is the coordinator, and
# NODES has the aliases of the servers that have the rows: see README.rst.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "default.sqlite3",
        "OPTIONS": {
            # Transactions wait for each other. By default, one that reads first and then writes
            # fails if another has written in between.
            "transaction_mode": "IMMEDIATE",
            # Readers do not wait for writers. NORMAL: a power failure can undo the last commits.
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL",
        },
    }
}
COORDINATOR = "default"
NODES = []
DISTRIBUTED_APPS = {"customers"}  # by app label; the tables of all others are on the coordinator
DATABASE_ROUTERS = ["distributed.routers.NodeRouter"]
SHARDS = []  # none of our own: the models of the app "sharding" are in one database
SHARDED_APPS = {"customers"}
DIRECTORY_OWNER = "customers.Customer"  # whose e-mail addresses are unique

# Worker numbers. Each process of this host that makes keys takes one. A second host needs other
# numbers: range(64, 128).
KEY_WORKERS = range(64)
KEY_WORKERS_DIR = BASE_DIR / ".workers"

# For a shop on your own machine: one on the internet needs a secret key and DEBUG = False.
SECRET_KEY = "not a secret"
DEBUG = True

INSTALLED_APPS = [
    "shop",  # for its templates and its stylesheet: it has no models
    "products",
    "customers",
    "directory",
    "distributed",
    "sharding",
    "sharding.fences",
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
