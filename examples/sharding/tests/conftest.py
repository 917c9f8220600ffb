import shutil
from contextlib import contextmanager

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections

from customers.models import Customer
from products.models import Product
from sharding import buckets, scatter
from sharding.keys import new_key
from tests import databases
from tests.databases import ALIASES
from tests.processes import python


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
def forget_the_map():
    """What one test made of the map is not true in the next."""
    buckets.forget_map()
    yield
    buckets.forget_map()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory, django_db_blocker):
    """Return the folder of databases that are migrated and empty, to be copied."""
    folder = tmp_path_factory.mktemp("migrated")
    with django_db_blocker.unblock(), databases_in(folder):
        with pytest.MonkeyPatch.context() as patch:
            open_databases(patch, folder)
            call_command("migrate", verbosity=0)
            call_command("migrate_shards")
            connections.close_all()  # of a file, the last one to close it leaves one
            buckets.forget_map()
        yield folder


@pytest.fixture
def shop(migrated, tmp_path, monkeypatch, django_db_blocker):
    """Give a test databases of its own, of which it may lose one; return their folder."""
    with django_db_blocker.unblock(), databases_in(tmp_path, migrated):
        open_databases(monkeypatch, tmp_path)
        buckets.forget_map()
        yield tmp_path
        connections.close_all()
        buckets.forget_map()


@contextmanager
def databases_in(folder, source=None):
    """Make the databases of a folder, empty or copied from those of another; then drop them."""
    for alias in ALIASES:
        if source is None:
            databases.create(alias, folder)
        else:
            databases.copy(alias, source, folder)
    try:
        yield
    finally:
        for alias in ALIASES:
            scatter.close(alias)
            databases.drop(alias, folder)


def open_databases(patch, folder):
    """Let all threads' connections open those of ``folder``, and leave any test database."""
    for alias in ALIASES:
        patch.setitem(connections.settings[alias], "NAME", databases.named(alias, folder))
        patch.setattr(connections[alias], "connection", None)


@pytest.fixture
def product():
    return Product.objects.create(name="Patient sundial", description="", price="9.50")


def bucket_on(alias):
    return buckets.shard_map().buckets(alias)[0]


def customer_on(alias, name="Ada Lovelace", **fields):
    pk = new_key(bucket_on(alias))
    return Customer.objects.create(pk=pk, name=name, email=f"{pk}@clocks.example", **fields)


@pytest.fixture
def customers():
    """A customer on each shard, in the order of SHARDS."""
    return [customer_on(alias, f"Customer {n}") for n, alias in enumerate(settings.SHARDS)]


@pytest.fixture
def manage(tmp_path, django_db_blocker):
    """Run ``manage.py`` in a copy of the project, whose databases are empty."""
    databases.check_that_a_copy_has_its_own()
    folder = tmp_path / "sharding"
    ignore = shutil.ignore_patterns("*.sqlite3*", "__pycache__", ".*")
    shutil.copytree(settings.BASE_DIR, folder, ignore=ignore)
    # With the settings that the test run has: those of the copy, for its own databases.

    def run(*arguments):
        return python.run("manage.py", *arguments, cwd=folder)

    run.folder = folder
    with django_db_blocker.unblock(), databases_in(folder):
        yield run
