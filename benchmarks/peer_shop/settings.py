"""The settings of the shop on djanquiltdb, for ``benchmarks/peer.py``."""

import os

from djanquiltdb import ShardingMode

NODE = {
    "ENGINE": "djanquiltdb.postgresql_backend",
    "USER": os.environ["PGUSER"],
    "HOST": os.environ["PGHOST"],
    "PORT": os.environ.get("PGPORT", "5432"),
}
DATABASES = {"default": NODE | {"NAME": "shop0"}, "node1": NODE | {"NAME": "shop1"}}
DATABASE_ROUTERS = ["djanquiltdb.router.DynamicDbRouter"]
MIRRORED = ["admin", "auth", "contenttypes", "sessions"]
QUILT_DB = {
    "SHARD_CLASS": "customers.models.Shard",
    "MAPPING_MODEL": "customers.models.Home",
    "PRIMARY_DB_ALIAS": "default",
    "NEW_SHARD_NODE": "default",
    "OVERRIDE_SHARDING_MODE": {(app,): ShardingMode.MIRRORED for app in MIRRORED},
}
INSTALLED_APPS = [
    "djanquiltdb",
    "djanquiltdb.contrib.quilt_admin",
    "djanquiltdb.contrib.quilt_auth",
    "customers",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "not a secret"
USE_TZ = True
ROOT_URLCONF = "urls"
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "djanquiltdb.contrib.quilt_admin.middleware.MappingValueAdminOverrideMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "djanquiltdb.contrib.quilt_admin.context_processors.admin_shard_context",
            ],
        },
    },
]
