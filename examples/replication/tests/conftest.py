import shutil

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connections

from products.models import Product
from replicas import health
from replicas.positions import MariaDBPosition
from reviews.models import Review
from tests.engines import databases_of
from tests.processes import python
from tests.servers import Servers, Unavailable
from tests.shops import shop_class


def pytest_configure():
    # The default hasher is slow on purpose: it takes a third of a second for each password.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def all_replicas_are_fit():
    """Delete the results of checks of replicas: they are not valid in the next test."""
    yield
    health._retry_at.clear()
    MariaDBPosition._samples.clear()
    MariaDBPosition._sample_at.clear()


@pytest.fixture
def product():
    return Product.objects.create(name="Patient sundial", description="", price="9.50")


@pytest.fixture
def author():
    return User.objects.create(username="huygens")


@pytest.fixture
def connected(transactional_db):
    """Open all connections before the test, so that it does not count their first queries.

    On MariaDB, Django executes queries on each new connection.
    """
    for alias in connections:
        connections[alias].ensure_connection()


@pytest.fixture
def review(product, author):
    return Review.objects.create(
        product=product, author=author, rating=4, text="Ticks. Does not tock."
    )


@pytest.fixture
def manage(tmp_path, django_db_blocker):
    """Run ``manage.py`` in a copy of the project. The databases of the copy are empty."""
    folder = tmp_path / "replication"
    ignore = shutil.ignore_patterns("*.sqlite3*", "__pycache__", ".*")
    shutil.copytree(settings.BASE_DIR, folder, ignore=ignore)
    # DJANGO_SETTINGS_MODULE is the same as in the test run, so the copy's module is used.

    def run(*arguments):
        return python.run("manage.py", *arguments, cwd=folder)

    run.folder = folder
    with django_db_blocker.unblock(), databases_of(folder):
        yield run


@pytest.fixture(scope="session")
def made(tmp_path_factory, django_db_blocker):
    """Return the source of each test's ``shop``: a folder with a file to copy, or servers."""
    with django_db_blocker.unblock():
        try:
            made = shop_class().make(tmp_path_factory.mktemp("made"))
        except Unavailable as error:
            pytest.skip(str(error))
    yield made
    if isinstance(made, Servers):
        made.close()


@pytest.fixture
def shop(made, tmp_path, monkeypatch, django_db_blocker):
    """A primary with a product and an author, and two replicas with the same rows."""
    with django_db_blocker.unblock():
        shop = shop_class()(made, tmp_path, monkeypatch)
        yield shop
        connections.close_all()
        shop.close()
