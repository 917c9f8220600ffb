"""The shop's three databases for a test. They replicate only when the test calls ``replicate()``.

On SQLite they are files. On another engine (``pytest --ds=tests.postgresql``) they are servers that
replicate by themselves. Between two calls, their replication is paused: see ``servers``.
"""

import re
import shutil
import sqlite3
from contextlib import closing
from time import time

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.color import no_style
from django.db import connection, connections

from products.models import Product
from replicas import health
from tests.servers import MariaDB, PostgreSQL

ALIASES = ["default", "replica1", "replica2"]


def position_class():
    """Return the class that ``REPLICA_POSITION`` names, for a test that replaces its methods."""
    return type(health.position())


def place(position):
    """Return the numbers in a position of any engine. For a later position, the list is greater."""
    return [int(part, 16) for part in re.split("[/-]", position)]


def fill():
    Product.objects.create(name="Patient sundial", description="", price="9.50")
    User.objects.create_user("huygens", password="pendulum")


def let_connect(patch, alias, **entry):
    """Change the settings of ``alias`` for the connections of all threads.

    This thread's connection to a test database is put aside until the end of the test.
    """
    for key, value in entry.items():
        patch.setitem(connections.settings[alias], key, value)
    patch.setattr(connections[alias], "connection", None)


class Files:
    """Three files for one test. ``replicate()`` copies the primary to the replicas."""

    @classmethod
    def make(cls, folder):
        """Create and migrate a primary with a product and an author, which each test copies."""
        with pytest.MonkeyPatch.context() as patch:
            cls.connect(patch, folder)
            call_command("migrate", verbosity=0)
            fill()
            with connections["default"].cursor() as cursor:
                cursor.execute("PRAGMA journal_mode = DELETE")  # one file has all data
            connections["default"].close()
        return folder

    def __init__(self, made, folder, patch):
        self.folder = folder
        shutil.copy(made / "default.sqlite3", folder)
        self.replicate()
        self.connect(patch, folder)

    @staticmethod
    def connect(patch, folder):
        for alias in ALIASES:
            file = (folder / f"{alias}.sqlite3").as_uri()
            name = file if alias == "default" else f"{file}?mode=ro"
            # The files need not survive a power cut.
            fast = {"init_command": "PRAGMA synchronous = OFF"}
            options = connections.settings[alias]["OPTIONS"] | fast
            let_connect(patch, alias, NAME=name, OPTIONS=options)

    def file(self, alias):
        return self.folder / f"{alias}.sqlite3"

    def replicate(self, *aliases, seconds_ago=0):
        """Let the replicas catch up, as if an applier had done it ``seconds_ago``."""
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
        """Let the replica be ``seconds`` behind, without a change of its position."""
        with closing(sqlite3.connect(self.file(alias))) as replica:
            replica.execute("UPDATE replication_position SET caught_up_at = ?", (time() - seconds,))
            replica.commit()

    def lose(self, alias):
        self.file(alias).unlink()

    def renew(self, alias):
        """Create a missing or broken replica again."""
        self.file(alias).unlink(missing_ok=True)
        self.replicate(alias)

    def close(self):
        pass


class OnServers:
    """A primary and two replicas for all tests of a run. Each test starts with the same rows."""

    @classmethod
    def make(cls, folder):
        vendor = connection.vendor
        servers = PostgreSQL() if vendor == "postgresql" else MariaDB(replicas=2)
        with pytest.MonkeyPatch.context() as patch:
            cls.connect(patch, servers)
            call_command("migrate", verbosity=0)
            connections.close_all()
        return servers

    def __init__(self, servers, folder, patch):
        self.servers, self.folder = servers, folder
        self.names = dict(zip(ALIASES, servers.names, strict=True))
        self.lag = dict.fromkeys(ALIASES, 0)
        self.connect(patch, servers)
        self.empty()
        fill()
        for alias in ALIASES[1:]:
            servers.resume(self.names[alias])
        self.replicate()
        real = position_class().seconds_behind
        patch.setattr(
            position_class(),
            "seconds_behind",
            lambda *args: real(*args) + self.lag[args[1].alias],
        )
        for alias in ALIASES[1:]:
            health.seconds_behind(alias)  # as in a process that has run for a while

    @staticmethod
    def connect(patch, servers):
        for alias, name in zip(ALIASES, servers.names, strict=True):
            let_connect(patch, alias, NAME="shop", OPTIONS={}, **servers.entry(name))

    @staticmethod
    def empty():
        made_by_migrate = {"django_migrations", "django_content_type", "auth_permission"}
        with connection.cursor() as cursor:
            tables = set(connection.introspection.table_names(cursor)) - made_by_migrate
            for sql in connection.ops.sql_flush(no_style(), sorted(tables), reset_sequences=True):
                cursor.execute(sql)
            cursor.execute("DELETE FROM django_content_type WHERE app_label = 'clocks'")

    def replicate(self, *aliases, seconds_ago=0):
        for alias in aliases or ALIASES[1:]:
            name = self.names[alias]
            self.servers.resume(name)
            self.servers.wait_until_caught_up(name)
            self.servers.pause(name)
            self.lag[alias] = seconds_ago

    def let_lag(self, alias, seconds):
        """Add ``seconds`` to the measured lag, because a server's lag cannot be set."""
        self.lag[alias] = seconds

    def lose(self, alias):
        self.servers.kill(self.names[alias])

    def renew(self, alias):
        self.servers.start(self.names[alias])
        self.replicate(alias)

    def close(self):
        for alias in ALIASES[1:]:
            self.servers.revive(self.names[alias])


def shop_class():
    return Files if connection.vendor == "sqlite" else OnServers
