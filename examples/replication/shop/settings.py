from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

# The replicas are opened read-only: no bug can write to them.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "default.sqlite3",
        # Makes each transaction take the write lock at its start, and wait for it. By default, a
        # transaction that reads first and writes later fails if another has written in between.
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},
    },
    "replica1": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"{(BASE_DIR / 'replica1.sqlite3').as_uri()}?mode=ro",
        "TEST": {"MIRROR": "default"},
    },
    "replica2": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"{(BASE_DIR / 'replica2.sqlite3').as_uri()}?mode=ro",
        "TEST": {"MIRROR": "default"},
    },
}
DATABASE_ROUTERS = ["replicas.routers.ReplicaRouter"]

REPLICAS = {"default": ["replica1", "replica2"]}
REPLICA_POSITION = "replicas.positions.LogPosition"  # for SQLite: each engine has its class
REPLICA_MAX_LAG = 60  # seconds: a replica that is further behind is not read from
REPLICA_RETRY = 10  # seconds after which a skipped replica is tried again

# For a shop on your own machine: one on the internet needs a secret key and DEBUG = False.
SECRET_KEY = "not a secret"
DEBUG = True

INSTALLED_APPS = [
    "shop",  # for its templates and its stylesheet: it has no models
    "products",
    "reviews",
    "replicas",
    "replication",  # for learning: a database server does not need this app
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "shop.middleware.QueryLogMiddleware",  # first, so that it sees the queries of all the others
    "replicas.consistency.ReadYourWritesMiddleware",
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
