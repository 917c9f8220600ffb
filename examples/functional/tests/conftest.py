import os
import shutil
import subprocess
import sys

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connections

from products.models import Product
from reviews.models import Review


def pytest_configure():
    # The usual hasher takes a third of a second for each password, as it should.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def product():
    return Product.objects.create(name="Patient sundial", description="", price="9.50")


@pytest.fixture
def author():
    return User.objects.create(username="huygens")


@pytest.fixture
def review(product, author):
    return Review.objects.create(
        product_id=product.pk, author_id=author.pk, rating=4, text="Ticks. Does not tock."
    )


@pytest.fixture
def manage(tmp_path):
    """Run ``manage.py`` in a copy of the project, with no database file yet."""
    if any(connection.vendor != "sqlite" for connection in connections.all()):
        pytest.skip("the databases of a copy are its own only when they are files in its folder")
    folder = tmp_path / "functional"
    ignore = shutil.ignore_patterns("*.sqlite3", "__pycache__", ".*")
    shutil.copytree(settings.BASE_DIR, folder, ignore=ignore)
    # Of the test run, the environment names the settings: manage.py is to find them by itself.
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )

    run.folder = folder
    return run
