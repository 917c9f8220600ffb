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
    # The default hasher takes a third of a second for each password.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session", autouse=True)
def workers_of_the_tests(tmp_path_factory):
    """Tests use other worker numbers than the processes of this project."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "KEY_WORKERS_DIR", tmp_path_factory.mktemp("workers"))
        yield


@pytest.fixture(autouse=True)
def forget():
    """Clear what a process keeps about the map and the replicas, before and after each test."""
    buckets.forget_map()
    yield
    buckets.forget_map()
    health._retry_at.clear()
    MariaDBPosition._samples.clear()
    MariaDBPosition._sample_at.clear()


@pytest.fixture(scope="session")
def made(tmp_path_factory, django_db_blocker):
    """Make the databases of ``shop`` once for all tests: files to copy, or servers."""
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
    """All databases, without rows except the map. The replicas are up to date."""
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
    """A customer on shard0 and on its replicas."""
    customer = customer_on("shard0")
    shop.replicate()
    return customer


@pytest.fixture
def ben(shop):
    """A customer on shard1 and on its replicas."""
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
    # The copy uses the settings module of this test run, with separate databases.

    def run(*arguments):
        return python.run("manage.py", *arguments, cwd=folder)

    run.folder = folder
    with django_db_blocker.unblock(), databases_of(folder):
        yield run
