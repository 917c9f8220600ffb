from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent


def database(alias, mode="rwc", **more):
    """Return the entry of a SQLite database. For a server, write another dict."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"{(BASE_DIR / f'{alias}.sqlite3').as_uri()}?mode={mode}",
        # Transactions wait for each other. By default, a transaction that reads first and then
        # writes fails if another transaction has written in between.
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},
        **more,
    }


SHARDS = ["shard0", "shard1"]
REPLICAS = {shard: [f"{shard}_replica1", f"{shard}_replica2"] for shard in SHARDS}
# The data is split by function, and then by shard. Each shard has replicas. default has the tables
# that are not sharded, such as products, users and the shard map. The replicas are opened
# read-only, so no bug can write to them.
DATABASES = {
    "default": database("default"),
    "reviews": database("reviews"),
    **{shard: database(shard) for shard in SHARDS},
    **{
        replica: database(replica, mode="ro", TEST={"MIRROR": shard})
        for shard in SHARDS
        for replica in REPLICAS[shard]
    },
}
SHARDED_APPS = {"customers"}  # app labels
DATABASE_ROUTERS = ["shop.routers.ShopRouter"]
DIRECTORY_OWNER = "customers.Customer"  # its e-mail addresses are unique over all shards

REPLICA_POSITION = "replicas.positions.LogPosition"  # for SQLite: other engines need other classes
REPLICA_MAX_LAG = 60  # seconds: a replica that is further behind is not read from
REPLICA_RETRY = 10  # seconds after which a skipped replica is tried again

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
    "reviews",
    "customers",
    "directory",
    "sharding",
    "sharding.fences",
    "replicas",
    "shard_replicas",
    "replication",  # for learning, on SQLite: servers replicate by themselves
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
    "shop.unavailable.ShardsDownMiddleware",
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
