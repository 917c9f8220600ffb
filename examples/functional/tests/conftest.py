import shutil

import pytest
from django.conf import settings
from django.contrib.auth.models import User

from products.models import Product
from reviews.models import Review
from tests.engines import databases_of
from tests.processes import python

# These tests have settings of their own: test_outbox.py runs them.
collect_ignore = [] if settings.SETTINGS_MODULE == "tests.with_orders" else ["outbox"]


def pytest_configure():
    # Django's default hasher is slow on purpose: it takes a third of a second for each password.
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
def manage(tmp_path, django_db_blocker):
    """Run ``manage.py`` in a copy of the project with empty databases."""
    folder = tmp_path / "functional"
    ignore = shutil.ignore_patterns("*.sqlite3", "__pycache__", ".*")
    shutil.copytree(settings.BASE_DIR, folder, ignore=ignore)
    # manage.py uses the test run's settings module. In the copy, it names the copy's databases.

    def run(*arguments):
        return python.run("manage.py", *arguments, cwd=folder)

    run.folder = folder
    with django_db_blocker.unblock(), databases_of(folder):
        yield run
