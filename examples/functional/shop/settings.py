from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

# To use another engine for a database, change its ENGINE, and add the NAME, USER, HOST and so on
# that this engine needs. No other code in this project depends on the engine.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "default.sqlite3",
    },
    "reviews": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "reviews.sqlite3",
    },
}
DATABASE_ROUTERS = ["shop.routers.FunctionalRouter"]

# For your own machine only. A site on the internet needs a secret key and DEBUG = False.
SECRET_KEY = "not a secret"
DEBUG = True

INSTALLED_APPS = [
    "shop",  # has templates, a stylesheet and a check, but no models
    "products",
    "reviews",
    "multidb_checks",
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
