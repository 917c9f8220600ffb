import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from time import time

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections

from products.models import Product
from replicas import health
from reviews.models import Review


def pytest_configure():
    # The usual hasher takes a third of a second for each password, as it should.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


ALIASES = ["default", "replica1", "replica2"]


@pytest.fixture(autouse=True)
def all_replicas_are_fit():
    """What one test found of a replica is not true in the next."""
    yield
    health._retry_at.clear()


@pytest.fixture
def product():
    return Product.objects.create(name="Patient sundial", description="", price="9.50")


@pytest.fixture
def author():
    return User.objects.create(username="huygens")


@pytest.fixture
def review(product, author):
    return Review.objects.create(
        product=product, author=author, rating=4, text="Ticks. Does not tock."
    )


@pytest.fixture
def manage(tmp_path):
    """Run ``manage.py`` in a copy of the project, with no database file yet."""
    if any(connection.vendor != "sqlite" for connection in connections.all()):
        pytest.skip("the databases of a copy are its own only when they are files in its folder")
    folder = tmp_path / "replication"
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


class Shop:
    """The three databases as files of a test's own, and a replication that is done by hand."""

    def __init__(self, folder):
        self.folder = folder

    def file(self, alias):
        return self.folder / f"{alias}.sqlite3"

    def replicate(self, *aliases, seconds_ago=0):
        """Let the replicas catch up, as an applier would have done ``seconds_ago``."""
        for alias in aliases or ALIASES[1:]:
            with (
                closing(sqlite3.connect(self.file("default"))) as primary,
                closing(sqlite3.connect(self.file(alias))) as replica,
            ):
                replica.execute("PRAGMA synchronous=OFF")
                primary.backup(replica)
                row = primary.execute(
                    "SELECT MAX(seq) FROM sqlite_sequence WHERE name = 'replication_log'"
                ).fetchone()
                replica.execute("DROP TABLE IF EXISTS replication_position")
                replica.execute(
                    "CREATE TABLE replication_position (position INTEGER, caught_up_at REAL)"
                )
                replica.execute(
                    "INSERT INTO replication_position VALUES (?, ?)",
                    (row[0] or 0, time() - seconds_ago),
                )
                replica.commit()

    def let_lag(self, alias, seconds):
        """Let the replica be that much behind, without a change of its position."""
        with closing(sqlite3.connect(self.file(alias))) as replica:
            replica.execute("UPDATE replication_position SET caught_up_at = ?", (time() - seconds,))
            replica.commit()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory, django_db_blocker):
    """Return a folder with a migrated primary, and a product and an author in it."""
    folder = tmp_path_factory.mktemp("migrated")
    with pytest.MonkeyPatch.context() as patch, django_db_blocker.unblock():
        open_files(patch, folder)
        call_command("migrate", verbosity=0)
        Product.objects.create(name="Patient sundial", description="", price="9.50")
        User.objects.create_user("huygens", password="pendulum")
        with connections["default"].cursor() as cursor:
            # One file, to be copied.
            cursor.execute("PRAGMA journal_mode = DELETE")
        connections["default"].close()
    return folder


@pytest.fixture
def shop(migrated, tmp_path, monkeypatch, django_db_blocker):
    """Put the three databases on files: two replicas that have what the primary has."""
    shutil.copy(migrated / "default.sqlite3", tmp_path)
    shop = Shop(tmp_path)
    shop.replicate()
    with django_db_blocker.unblock():
        open_files(monkeypatch, tmp_path)
        yield shop
        connections.close_all()


def open_files(patch, folder):
    """Let all threads' connections open the files in ``folder``, and leave any test database."""
    for alias in ALIASES:
        file = (folder / f"{alias}.sqlite3").as_uri()
        name = file if alias == "default" else f"{file}?mode=ro"
        patch.setitem(connections.settings[alias], "NAME", name)
        # Nothing here has to outlive a power cut.
        fast = {"init_command": "PRAGMA synchronous = OFF"}
        options = connections.settings[alias]["OPTIONS"] | fast
        patch.setitem(connections.settings[alias], "OPTIONS", options)
        patch.setattr(connections[alias], "connection", None)
