import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from time import time

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections

from customers.models import Customer
from products.models import Product
from replicas import health
from replication import files, snapshot
from replication.applier import Applier
from sharding import buckets
from sharding.keys import new_key


def pytest_configure():
    # The usual hasher takes a third of a second for each password, as it should.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


REPLICAS = [alias for aliases in settings.REPLICAS.values() for alias in aliases]
ALIASES = ["default", "reviews", *settings.SHARDS, *REPLICAS]


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


class Shop:
    """All databases as files of a test's own, and a replication that runs when it is told to."""

    def __init__(self, folder):
        self.folder = folder

    def file(self, alias):
        return self.folder / f"{alias}.sqlite3"

    def replicate(self, *aliases):
        for alias in aliases or REPLICAS:
            with closing(Applier(files.primary_of(alias), self.file(alias))) as applier:
                applier.step()

    def let_lag(self, alias, seconds):
        """Let the replica be that much behind, without a change of its position."""
        with closing(sqlite3.connect(self.file(alias))) as replica:
            replica.execute("UPDATE replication_position SET caught_up_at = ?", (time() - seconds,))
            replica.commit()

    @contextmanager
    def lost(self, *aliases):
        """In the block, no connection can be opened to these, and those that were are closed."""
        with pytest.MonkeyPatch.context() as patch:
            for alias in aliases:
                connections[alias].close()
                # A folder is in the file's place: SQLite would make an empty file anew.
                self.file(alias).rename(self.folder / f"{alias}.lost")
                for suffix in ("-wal", "-shm"):
                    (self.folder / f"{alias}.sqlite3{suffix}").unlink(missing_ok=True)
                self.file(alias).mkdir()
            patch.setattr(health, "_retry_at", {})
            yield
            for alias in aliases:
                connections[alias].close()
                if self.file(alias).is_dir():
                    self.file(alias).rmdir()
                    (self.folder / f"{alias}.lost").rename(self.file(alias))


@pytest.fixture(scope="session")
def migrated(tmp_path_factory, django_db_blocker):
    """Return a folder with the databases as files, migrated; the replicas are copies."""
    folder = tmp_path_factory.mktemp("migrated")
    with pytest.MonkeyPatch.context() as patch, django_db_blocker.unblock():
        open_files(patch, folder)
        call_command("migrate", verbosity=0)
        call_command("migrate", "reviews", database="reviews", verbosity=0)
        call_command("migrate_shards")
        User.objects.create_user("clerk", password="pendulum", is_staff=True)
        connections.close_all()  # the last one to close it leaves one file
        for replica in REPLICAS:
            snapshot.take(files.primary_of(replica), folder / f"{replica}.sqlite3")
        buckets.forget_map()
    return folder


@pytest.fixture
def shop(migrated, tmp_path, monkeypatch, django_db_blocker):
    """Put the databases on files: replicas that have what their primaries have."""
    shop = Shop(tmp_path)
    for alias in ALIASES:
        shutil.copy(migrated / f"{alias}.sqlite3", tmp_path)
    with django_db_blocker.unblock():
        open_files(monkeypatch, tmp_path)
        shop.replicate()
        yield shop
        connections.close_all()


def open_files(patch, folder):
    """Let all threads' connections open the files in ``folder``, and leave any test database."""
    for alias in ALIASES:
        mode = "ro" if alias in REPLICAS else "rwc"
        name = f"{(folder / f'{alias}.sqlite3').as_uri()}?mode={mode}"
        patch.setitem(connections.settings[alias], "NAME", name)
        # Nothing here has to outlive a power cut.
        fast = {"init_command": "PRAGMA synchronous = OFF"}
        options = connections.settings[alias]["OPTIONS"] | fast
        patch.setitem(connections.settings[alias], "OPTIONS", options)
        patch.setattr(connections[alias], "connection", None)


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
def manage(tmp_path):
    """Run ``manage.py`` in a copy of the project, with no database file yet."""
    if any(connection.vendor != "sqlite" for connection in connections.all()):
        pytest.skip("the databases of a copy are its own only when they are files in its folder")
    folder = tmp_path / "replicated_shards"
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
