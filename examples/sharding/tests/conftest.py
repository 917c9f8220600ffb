import os
import shutil
import subprocess
import sys

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections

from customers.models import Customer
from products.models import Product
from sharding import buckets
from sharding.keys import new_key


def pytest_configure():
    # The usual hasher takes a third of a second for each password, as it should.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


ALIASES = ["default", *settings.SHARDS]


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
    """Return a folder with the databases as files, migrated and empty."""
    folder = tmp_path_factory.mktemp("migrated")
    with pytest.MonkeyPatch.context() as patch, django_db_blocker.unblock():
        open_files(patch, folder)
        call_command("migrate", verbosity=0)
        call_command("migrate_shards")
        connections.close_all()  # the last one to close it leaves one file
        buckets.forget_map()
    return folder


@pytest.fixture
def shop(migrated, tmp_path, monkeypatch, django_db_blocker):
    """Put the databases on files, of which a test may lose one; return the folder."""
    for alias in ALIASES:
        shutil.copy(migrated / f"{alias}.sqlite3", tmp_path)
    with django_db_blocker.unblock():
        open_files(monkeypatch, tmp_path)
        buckets.forget_map()
        yield tmp_path
        connections.close_all()
        buckets.forget_map()


def open_files(patch, folder):
    """Let all threads' connections open the files in ``folder``, and leave any test database."""
    for alias in ALIASES:
        patch.setitem(connections.settings[alias], "NAME", str(folder / f"{alias}.sqlite3"))
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
def manage(tmp_path):
    """Run ``manage.py`` in a copy of the project, with no database file yet."""
    if any(connection.vendor != "sqlite" for connection in connections.all()):
        pytest.skip("the databases of a copy are its own only when they are files in its folder")
    folder = tmp_path / "sharding"
    ignore = shutil.ignore_patterns("*.sqlite3*", "__pycache__", ".*")
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
