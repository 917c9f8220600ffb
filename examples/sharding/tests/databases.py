"""Databases that a test copies, loses and gets back: files in a folder, or on a server."""

import shutil
from contextlib import contextmanager

import pytest
from django.conf import settings
from django.db import connections

from tests.engines import name

ALIASES = ["default", *settings.SHARDS]


def vendor(alias):
    return connections[alias].vendor


def is_file(alias):
    return vendor(alias) == "sqlite"


def named(alias, folder):
    """Return what the NAME of a database is: of the project, or of the test, in ``folder``."""
    return str(folder / f"{alias}.sqlite3") if is_file(alias) else name(alias, folder)


def check_that_a_copy_has_its_own():
    """Skip a test of a copy of the project that would use the databases of a reader's settings."""
    if settings.SETTINGS_MODULE == "shop.settings" and not all(map(is_file, ALIASES)):
        pytest.skip("a copy has separate databases only with --ds=tests.postgresql or similar")


def skip_where_engines_differ(what):
    """Skip a test that holds the shards against ``default``, where their engines differ in this."""
    if len(set(map(vendor, ALIASES))) > 1:
        pytest.skip(f"default is of another engine than the shards, and these differ in {what}")


def quoted(alias, folder, prefix=""):
    return connections[alias].ops.quote_name(prefix + name(alias, folder))


def create(alias, folder):
    """Create an empty database; of a file that is done by whoever opens it."""
    if not is_file(alias):
        charset = " CHARACTER SET utf8mb4" if vendor(alias) == "mysql" else ""
        with connections[alias]._nodb_cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {quoted(alias, folder)}{charset}")


def copy(alias, source, target):
    """Copy a database, which nobody uses at this moment, from one folder to another."""
    if is_file(alias):
        shutil.copy(named(alias, source), named(alias, target))
        return
    there, here = quoted(alias, source), quoted(alias, target)
    if vendor(alias) == "mysql":
        create(alias, target)
    with connections[alias]._nodb_cursor() as cursor:
        if vendor(alias) == "postgresql":
            cursor.execute(f"CREATE DATABASE {here} TEMPLATE {there}")
            return
        cursor.execute(f"USE {here}")
        cursor.execute("SET FOREIGN_KEY_CHECKS = 0")
        cursor.execute(f"SHOW TABLES FROM {there}")
        for (table,) in cursor.fetchall():
            cursor.execute(f"SHOW CREATE TABLE {there}.{table}")
            cursor.execute(cursor.fetchone()[1].replace("%", "%%"))
            cursor.execute(f"INSERT INTO {table} SELECT * FROM {there}.{table}")
        cursor.execute("COMMIT")


def drop(alias, folder, prefix=""):
    """Drop a database, or with ``prefix="test_"``, the one that a test run of the project made."""
    if is_file(alias):
        for file in folder.glob(f"{alias}.sqlite3*"):
            file.unlink()
        return
    with connections[alias]._nodb_cursor() as cursor:
        if vendor(alias) == "postgresql":
            # Not by WITH (FORCE), which may not end an autovacuum there, as DROP DATABASE may.
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = %s AND usename = current_user",
                [prefix + name(alias, folder)],
            )
        cursor.execute(f"DROP DATABASE IF EXISTS {quoted(alias, folder, prefix)}")


def replace(alias, folder, source=None):
    """Put an empty database in the place of one, or a copy of that in another folder."""
    connections[alias].close()
    drop(alias, folder)
    if source is None:
        create(alias, folder)
    else:
        copy(alias, source, folder)


@contextmanager
def restored(alias, folder):
    """Back a database up; at the end of the block, restore what it was before."""
    aside = folder / "aside"
    aside.mkdir(exist_ok=True)
    connections[alias].close()
    copy(alias, folder, aside)
    try:
        yield
    finally:
        replace(alias, folder, aside)
        drop(alias, aside)


@contextmanager
def lost(alias, folder):
    """Take a database away, and then give it back as it was.

    Yields its name, and what is said of it meanwhile, as a regular expression.
    """
    with restored(alias, folder):
        drop(alias, folder)
        if is_file(alias):
            (folder / f"{alias}.sqlite3").write_bytes(b"The cuckoo has nested here." * 1000)
        yield named(alias, folder), SAID[vendor(alias)].format(name=name(alias, folder))


#: What each engine says where a database is not there.
SAID = {
    "sqlite": "file is not a database",
    "postgresql": '.*database "{name}" does not exist',
    "mysql": ".*Unknown database '{name}'.*",
}
#: And where a table is not.
NO_TABLE = {
    "sqlite": "no such table: {table}",
    "postgresql": 'relation "{table}" does not exist',
    "mysql": r"Table '\w+\.{table}' doesn't exist",
}


def no_table(alias, model):
    """Return what a database says that lacks the table of a model, as a regular expression."""
    return NO_TABLE[vendor(alias)].format(table=model._meta.db_table)
