import os
import shutil
import sqlite3
from contextlib import closing

import pytest
from django.conf import settings
from django.db import connections

from tests.engines import name
from tests.processes import python


def pytest_configure():
    # The usual hasher takes a third of a second for each password, as it should.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


IGNORED = shutil.ignore_patterns("__pycache__", ".*")
#: Each database, by the name of its file, and the alias here whose engine it is of.
DATABASES = {
    "live": "production",
    "snapshot": "production",
    "local": "default",
    "vendor": "vendor",
}
#: On a server, it has the name of its alias.
NAMES = {"snapshot": "production", "local": "default"}
MASK = (
    "UPDATE customers_customer SET name = CONCAT('Customer ', id), phone = NULL, "
    "email = CONCAT('customer', id, '@clocks.example')"
)


def is_file(database):
    return connections[DATABASES[database]].vendor == "sqlite"


def writable(database):
    """Return a connection to the server of a database, without what makes ours read-only."""
    connection = connections[DATABASES[database]].copy()
    for option in "options", "init_command":
        connection.settings_dict["OPTIONS"].pop(option, None)
    return connection


class Copy:
    """A copy of the project, with the databases that its commands make: here, or on a server."""

    def __init__(self, source, folder, empty=False):
        self.folder = shutil.copytree(source, folder, ignore=IGNORED)
        for database in DATABASES:
            if not is_file(database):
                self.make(database, None if empty else self.name(database, source))

    def __call__(self, *arguments, live=False):
        """Run ``manage.py`` in it, with production's settings if ``live``."""
        module = settings.SETTINGS_MODULE
        if live:
            module = "shop.live" if module == "shop.settings" else f"{module}_live"
        return python.run(
            "manage.py",
            *arguments,
            cwd=self.folder,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": module},
            timeout=60,
        )

    def does(self, *arguments, live=False):
        """Run ``manage.py``, which is to succeed, and return what it wrote."""
        process = self(*arguments, live=live)
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    def name(self, database, folder=None):
        return name(NAMES.get(database, database), folder or self.folder)

    @property
    def settings(self):
        """The file of the developer's settings: what comes at its end, holds."""
        return self.folder / f"{settings.SETTINGS_MODULE.replace('.', '/')}.py"

    def query(self, database, *statements):
        """Execute statements in one of the databases, past the project, in one transaction.

        Returns the rows of the last.
        """
        if is_file(database):
            file = self.folder / f"{database}.sqlite3"
            with closing(sqlite3.connect(file)) as connection, connection:
                return [connection.execute(sql).fetchall() for sql in statements][-1]
        connection = writable(database)
        connection.settings_dict["NAME"] = self.name(database)
        try:
            connection.disable_constraint_checking()  # as MariaDB defers none
            connection.set_autocommit(False)
            with connection.cursor() as cursor:
                for sql in statements:
                    cursor.execute(sql)
                found = list(cursor.fetchall()) if cursor.description else []
            connection.commit()
            return found
        finally:
            connection.close()

    def contents(self, database):
        """Return what is in a database, to be compared: its file's bytes, or its tables' rows."""
        if is_file(database):
            return (self.folder / f"{database}.sqlite3").read_bytes()
        quote = connections[DATABASES[database]].ops.quote_name
        tables = (
            ["TBL_ARTIKEL"]
            if database == "vendor"
            else ["products_product", "reviews_review", "listings_listing", "customers_customer"]
        )
        return [self.query(database, f"SELECT * FROM {quote(t)} ORDER BY 1") for t in tables]

    def lose(self, database):
        """Take away all of a database: its file, or its tables."""
        if is_file(database):
            (self.folder / f"{database}.sqlite3").unlink()
        else:
            self.make(database)

    def make(self, database, source=None):
        """Make a database on its server; as a copy of another, if one is named."""
        connection = writable(database)
        new = connection.ops.quote_name(self.name(database))
        source = source and connection.ops.quote_name(source)
        is_copied = source and connection.vendor == "postgresql"
        with connection._nodb_cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {new}")
            options = " CHARACTER SET utf8mb4" if connection.vendor == "mysql" else ""
            options += f" TEMPLATE {source}" if is_copied else ""
            cursor.execute(f"CREATE DATABASE {new}{options}")
            if source and not is_copied:
                cursor.execute(f"SHOW TABLES IN {source}")
                for (table,) in cursor.fetchall():
                    cursor.execute(f"CREATE TABLE {new}.`{table}` LIKE {source}.`{table}`")
                    cursor.execute(f"INSERT INTO {new}.`{table}` SELECT * FROM {source}.`{table}`")

    def snapshot(self):
        """Make the snapshot: by the command on SQLite, and on a server as a copy, masked."""
        if is_file("live"):
            self.does("snapshot", live=True)
        else:
            self.make("snapshot", self.name("live"))
            self.query("snapshot", MASK)

    def drop(self, *databases):
        for database in databases or DATABASES:
            if not is_file(database):
                connection = writable(database)
                with connection._nodb_cursor() as cursor:
                    quoted = connection.ops.quote_name(self.name(database))
                    cursor.execute(f"DROP DATABASE IF EXISTS {quoted}")


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """A copy of the project with no database file, not to be written to."""
    folder = tmp_path_factory.mktemp("bare") / "shadowing"
    ignored = shutil.ignore_patterns("*.sqlite3*", "__pycache__", ".*")
    shutil.copytree(settings.BASE_DIR, folder, ignore=ignored)
    return folder


@pytest.fixture(scope="session")
def filled(bare, tmp_path_factory, django_db_blocker):
    """A copy whose production, snapshot and local database are made, not to be written to."""
    with django_db_blocker.unblock():
        shop = Copy(bare, tmp_path_factory.mktemp("filled") / "shadowing", empty=True)
        shop.does("vendor_catalogue", "--articles=120")
        shop.does("migrate", live=True)
        shop.does("populate", "--products=40", "--customers=20", "--reviews=60", live=True)
        shop.snapshot()
        shop.does("migrate")
        shop.does("shadow", "reviews.Review")
        if not settings.OVERLAID:
            shop.does("shadow", "products.Category", "products.Product", "listings.Listing")
    yield shop.folder
    with django_db_blocker.unblock():
        shop.drop()


def copy(source, folder, django_db_blocker, empty=False):
    """Make a copy of the project that a test may write to, and at the end drop its databases."""
    with django_db_blocker.unblock():
        shop = Copy(source, folder, empty)
        yield shop
        shop.drop()


@pytest.fixture
def empty_shop(bare, tmp_path, django_db_blocker):
    """A copy of one's own of the project, with no database file yet."""
    yield from copy(bare, tmp_path / "shadowing", django_db_blocker, empty=True)


@pytest.fixture
def shop(filled, tmp_path, django_db_blocker):
    """A copy of one's own of the project, with all of its databases made and filled."""
    yield from copy(filled, tmp_path / "shadowing", django_db_blocker)


@pytest.fixture(scope="session")
def django_db_setup(filled, tmp_path_factory, django_db_blocker):
    """The databases of tests that use the ORM in this process: copies, and not Django's test ones.

    Those would be made by ``migrate``, which makes nothing of a snapshot or of a vendor's tables.
    """
    with django_db_blocker.unblock():
        shop = Copy(filled, tmp_path_factory.mktemp("here") / "shadowing")
    settings.SNAPSHOT = shop.folder / settings.SNAPSHOT.name
    settings.VENDOR = shop.folder / settings.VENDOR.name
    names = {
        "default": shop.folder / "local.sqlite3",
        "production": f"{settings.SNAPSHOT.as_uri()}?mode=ro",
        "vendor": f"{settings.VENDOR.as_uri()}?mode=ro",
    }
    for alias, file in names.items():
        is_sqlite = connections[alias].vendor == "sqlite"
        settings.DATABASES[alias]["NAME"] = file if is_sqlite else name(alias, shop.folder)
    assert connections.settings is settings.DATABASES
    yield
    connections.close_all()
    with django_db_blocker.unblock():
        shop.drop()
