import shutil
from contextlib import ExitStack

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connections

from customers.models import Customer
from products.models import Product
from replicas import health
from replicas.positions import MariaDBPosition
from sharding import buckets
from sharding.keys import new_key
from tests.engines import databases_of
from tests.processes import python
from tests.servers import Unavailable
from tests.shops import Files, shop_class


def pytest_configure():
    # The usual hasher takes a third of a second for each password, as it should.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session", autouse=True)
def workers_of_the_tests(tmp_path_factory):
    """The numbers of this project's own processes are not for its tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "KEY_WORKERS_DIR", tmp_path_factory.mktemp("workers"))
        yield


@pytest.fixture(autouse=True)
def forget():
    """What one test made of the map, and found of a replica, is not true in the next."""
    buckets.forget_map()
    yield
    buckets.forget_map()
    health._retry_at.clear()
    MariaDBPosition._samples.clear()
    MariaDBPosition._sample_at.clear()


@pytest.fixture(scope="session")
def made(tmp_path_factory, django_db_blocker):
    """What each test's ``shop`` is made of: files to copy, or servers."""
    folder = tmp_path_factory.mktemp("made")
    with ExitStack() as stack:
        with django_db_blocker.unblock():
            try:
                if shop_class() is Files:
                    stack.enter_context(databases_of(folder))
                made = shop_class().make(folder)
            except Unavailable as error:
                pytest.skip(str(error))
        yield made
        if isinstance(made, list):
            for servers in made:
                servers.close()
        with django_db_blocker.unblock():
            stack.close()


@pytest.fixture
def shop(made, tmp_path, monkeypatch, django_db_blocker):
    """All databases, empty but for the map: replicas that have what their primaries have."""
    with django_db_blocker.unblock():
        shop = shop_class()(made, tmp_path, monkeypatch)
        yield shop
        connections.close_all()
        shop.close()


def bucket_on(alias, number=0):
    return buckets.shard_map().buckets(alias)[number]


def customer_on(alias, name="Ada Lovelace", **fields):
    pk = new_key(bucket_on(alias))
    return Customer.objects.create(pk=pk, name=name, email=f"{pk}@clocks.example", **fields)


@pytest.fixture
def ada(shop):
    """On shard0, and on its replicas."""
    customer = customer_on("shard0")
    shop.replicate()
    return customer


@pytest.fixture
def ben(shop):
    """On shard1, and on its replicas."""
    customer = customer_on("shard1", "Ben Mudge")
    shop.replicate()
    return customer


@pytest.fixture
def product(shop):
    return Product.objects.create(name="Patient sundial", description="", price="9.50")


@pytest.fixture
def staff(shop, client):
    client.force_login(User.objects.get(username="clerk"))
    return client


@pytest.fixture
def manage(tmp_path, django_db_blocker):
    """Run ``manage.py`` in a copy of the project, whose databases are empty."""
    folder = tmp_path / "replicated_shards"
    ignore = shutil.ignore_patterns("*.sqlite3*", "__pycache__", ".*")
    shutil.copytree(settings.BASE_DIR, folder, ignore=ignore)
    # With the settings that the test run has: those of the copy, for its own databases.

    def run(*arguments):
        return python.run("manage.py", *arguments, cwd=folder)

    run.folder = folder
    with django_db_blocker.unblock(), databases_of(folder):
        yield run
