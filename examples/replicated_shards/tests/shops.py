"""The shop's databases for a test. They replicate only when the test calls ``replicate()``.

On SQLite they are files. On another engine (``pytest --ds=tests.postgresql``) they are servers, a
primary with two replicas for each shard. These replicate by themselves, and are paused. See
``servers``.
"""

import shutil
import sqlite3
from contextlib import closing, contextmanager
from itertools import groupby
from time import time

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import User
from django.core import serializers
from django.core.management import call_command
from django.core.management.color import no_style
from django.db import connections, router, transaction
from django.db.models import QuerySet

from replicas import health
from sharding import buckets, scatter
from tests.engines import name as name_of
from tests.servers import MariaDB, PostgreSQL

REPLICAS = [alias for aliases in settings.REPLICAS.values() for alias in aliases]
PRIMARIES = ["default", "reviews", *settings.SHARDS]
ALIASES = [*PRIMARIES, *REPLICAS]
READ_ONLY = "readonly|read-only"  # a part of the error of a write on a replica, on each engine


def let_connect(patch, alias, **entry):
    """Let the connections of all threads use these values, instead of a test database."""
    for key, value in entry.items():
        patch.setitem(connections.settings[alias], key, value)
    patch.setattr(connections[alias], "connection", None)


def migrate():
    call_command("migrate", verbosity=0)
    call_command("migrate", "reviews", database="reviews", verbosity=0)
    call_command("migrate_shards")
    User.objects.create_user("clerk", password="pendulum", is_staff=True)


def empty(connection):
    """Delete all rows, except the table of the applied migrations."""
    with connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor)) - {"django_migrations"}
        for sql in connection.ops.sql_flush(
            no_style(), sorted(tables), reset_sequences=True, allow_cascade=True
        ):
            cursor.execute(sql)


class Files:
    """Databases that are files of one test, and are replicated by ``replicate()``.

    A database on a server (``--ds=tests.mixed``) is used by all tests, and is emptied for each.
    """

    @classmethod
    def make(cls, folder):
        """Make the files that tests copy. They are migrated, and the replicas are copies."""
        from replication import files, snapshot

        cls.made = folder
        with pytest.MonkeyPatch.context() as patch:
            cls.connect(patch, folder)
            migrate()
            connections.close_all()  # SQLite then leaves one file for each database
            for replica in REPLICAS:
                snapshot.take(files.primary_of(replica), folder / f"{replica}.sqlite3")
            buckets.forget_map()
        return folder

    def __init__(self, made, folder, patch):
        self.folder = folder
        for file in made.glob("*.sqlite3"):
            shutil.copy(file, folder)
        self.connect(patch, folder)
        for connection in connections.all():
            if connection.vendor != "sqlite":
                empty(connection)
        self.replicate()

    @classmethod
    def connect(cls, patch, folder):
        for alias in ALIASES:
            if connections[alias].vendor != "sqlite":
                let_connect(patch, alias, NAME=name_of(alias, cls.made))
                continue
            mode = "ro" if alias in REPLICAS else "rwc"
            name = f"{(folder / f'{alias}.sqlite3').as_uri()}?mode={mode}"
            # No test needs its rows after a power failure.
            fast = {"init_command": "PRAGMA synchronous = OFF"}
            options = connections.settings[alias]["OPTIONS"] | fast
            let_connect(patch, alias, NAME=name, OPTIONS=options)

    def file(self, alias):
        return self.folder / f"{alias}.sqlite3"

    def replicate(self, *aliases):
        from replication import files
        from replication.applier import Applier

        for alias in aliases or REPLICAS:
            with closing(Applier(files.primary_of(alias), self.file(alias))) as applier:
                applier.step()

    def let_lag(self, alias, seconds):
        """Let the replica be so many seconds behind, without a change of its position."""
        with closing(sqlite3.connect(self.file(alias))) as replica:
            replica.execute("UPDATE replication_position SET caught_up_at = ?", (time() - seconds,))
            replica.commit()

    @contextmanager
    def lost(self, *aliases):
        """In the block, these databases cannot be opened. Open connections are closed."""
        with pytest.MonkeyPatch.context() as patch:
            for alias in aliases:
                connections[alias].close()
                # Put a folder in place of the file, because SQLite would create an empty file.
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

    def close(self):
        pass


class OnServers:
    """Servers for all tests, three for each shard, which are emptied for each test.

    ``default`` and ``reviews`` are separate databases on the servers of shard0.
    """

    @classmethod
    def make(cls, folder):
        vendor = connections["default"].vendor
        made = [
            PostgreSQL() if vendor == "postgresql" else MariaDB(replicas=2) for _ in settings.SHARDS
        ]
        for alias in PRIMARIES:
            servers, name = cls.of(made, alias)
            if vendor == "postgresql":
                servers.sql(name, f'CREATE DATABASE "{alias}" OWNER shop')
            else:
                servers.sql(name, f"CREATE DATABASE `{alias}` CHARACTER SET utf8mb4")
                servers.sql(name, f"GRANT ALL ON `{alias}`.* TO shop@localhost")
        with pytest.MonkeyPatch.context() as patch:
            cls.connect(patch, made)
            migrate()
            cls.rows = {
                alias: connections[alias].creation.serialize_db_to_string() for alias in PRIMARIES
            }
            connections.close_all()
        return made

    @classmethod
    def of(cls, made, alias):
        """Return the servers that an alias belongs to, and the name of its server there."""
        shard, _, replica = alias.partition("_replica")
        number = settings.SHARDS.index(shard) if shard in settings.SHARDS else 0
        return made[number], made[number].names[int(replica or 0)]

    def __init__(self, made, folder, patch):
        self.made = made
        self.lag = dict.fromkeys(ALIASES, 0)
        self.connect(patch, made)
        self.empty()
        self.replicate()
        real = type(health.position()).seconds_behind
        patch.setattr(
            type(health.position()),
            "seconds_behind",
            lambda *args: real(*args) + self.lag[args[1].alias],
        )
        for alias in REPLICAS:
            health.seconds_behind(alias)  # as if the process had already queried its replicas

    @classmethod
    def connect(cls, patch, made):
        for alias in ALIASES:
            servers, name = cls.of(made, alias)
            entry = servers.entry(name) | {"NAME": alias.partition("_")[0]}
            let_connect(patch, alias, OPTIONS={}, **entry)

    def empty(self):
        for alias in PRIMARIES:
            empty(connections[alias])
        for alias, rows in self.rows.items():
            connection = connections[alias]
            # Django's deserialize_db_from_string() saves each of the map's 1024 rows separately.
            found = [row.object for row in serializers.deserialize("json", rows, using=alias)]
            with transaction.atomic(using=alias), connection.constraint_checks_disabled():
                for model, same in groupby(found, type):
                    QuerySet(model, using=alias).bulk_create(same)
            # The rows were saved with their keys, and the sequences still begin at 1.
            models = [
                model
                for model in apps.get_models(include_auto_created=True)
                if router.allow_migrate_model(alias, model)
            ]
            with connection.cursor() as cursor:
                for sql in connection.ops.sequence_reset_sql(no_style(), models):
                    cursor.execute(sql)
        buckets.forget_map()

    def replicate(self, *aliases):
        for alias in aliases or REPLICAS:
            servers, name = self.of(self.made, alias)
            servers.resume(name)
            servers.wait_until_caught_up(name)
            servers.pause(name)
            self.lag[alias] = 0

    def let_lag(self, alias, seconds):
        """Add these seconds to the measured lag, because no server can be set to such a lag."""
        self.lag[alias] = seconds

    @contextmanager
    def lost(self, *aliases):
        """In the block, these servers are down. With shard0, ``default`` is down too."""
        with pytest.MonkeyPatch.context() as patch:
            for alias in aliases:
                connections[alias].close()
                servers, name = self.of(self.made, alias)
                servers.kill(name)
            patch.setattr(health, "_retry_at", {})
            yield
            for alias in aliases:
                connections[alias].close()
                scatter.close(alias)
                servers, name = self.of(self.made, alias)
                servers.start(name)

    def close(self):
        for alias in ALIASES:
            servers, name = self.of(self.made, alias)
            servers.revive(name)


def shop_class():
    return Files if connections["default"].vendor == "sqlite" else OnServers
