"""Changes the engine of a project's databases, as a reader would do in the settings.

If a page makes its own project, an entry that already has the server's engine is changed only in
its address.

`sitecustomize` calls `watch()` in each process of a page that runs on a server.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from livedocs_imports import after_import

SQLITE = "django.db.backends.sqlite3"
READ_ONLY = {
    "django.db.backends.postgresql": {"options": "-c default_transaction_read_only=on"},
    "django.db.backends.mysql": {"init_command": "SET SESSION TRANSACTION READ ONLY"},
}


def watch() -> None:
    after_import("django.db.utils", lambda module: wrap(module.ConnectionHandler))


def wrap(handler: type) -> None:
    configure = handler.configure_settings

    def configure_settings(self, databases):
        from django.conf import settings

        change(settings.DATABASES if databases is None else databases)
        return configure(self, databases)

    handler.configure_settings = configure_settings


def change(databases: dict[str, dict]) -> None:
    server = json.loads(os.environ["LIVEDOCS_SERVER"])
    engine = server["django"]
    ours = [
        alias for alias, database in databases.items() if database.get("ENGINE") in (SQLITE, engine)
    ]
    if server["mixed"]:
        # The second alias that is not a replica: a replica has the engine of its primary.
        ours = [alias for alias in ours if not is_replica(databases[alias])][1:2]
    standbys = {alias: server["standbys"][alias] for alias in ours if alias in server["standbys"]}
    primaries = [place_of(databases[alias]) for alias in ours if alias not in standbys]
    for alias in ours:
        database = databases[alias]
        if not (name := name_of(str(database.get("NAME") or ""))):
            continue
        if database["ENGINE"] == engine:
            if not server["new"]:  # Such a page has servers of its own.
                continue
            is_standby = alias in standbys and place_of(database) not in primaries
            address = standbys[alias] if is_standby else server["address"]
            database |= {"PASSWORD": "", "PORT": ""} | address
        else:
            options = READ_ONLY[engine] if is_read_only(database) else {}
            database |= {"ENGINE": engine, "NAME": name, "OPTIONS": dict(options)}
            database |= server["address"]
        create(name, engine, server["address"])


def place_of(database: dict) -> tuple[str, str]:
    """The server's address. A test may give a standby's alias the address of the primary."""
    return database.get("HOST", ""), str(database.get("PORT", ""))


def is_read_only(database: dict) -> bool:
    return "mode=ro" in urlsplit(str(database.get("NAME"))).query


def is_replica(database: dict) -> bool:
    return is_read_only(database) or "MIRROR" in database.get("TEST", {})


def name_of(file: str) -> str:
    """Return the database for that file: ``data/shard1.sqlite3`` becomes ``data_shard1``."""
    url = urlsplit(file)
    if "memory" in file or not file:
        return ""
    folder = Path(os.environ["LIVEDOCS_FOLDER"])
    path = Path(unquote(url.path) if url.scheme == "file" else file)
    path = Path(os.path.abspath(path))
    path = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
    return "_".join(path.parts).removesuffix(".sqlite3")


def create(name: str, engine: str, address: dict[str, str]) -> None:
    """Make a database, but only once: a database that the page drops is not made again."""
    made = Path(os.environ["LIVEDOCS_FOLDER"]).with_name("databases")
    if made.exists() and name in made.read_text().splitlines():
        return
    if engine.endswith("postgresql"):
        import psycopg

        at = {"host": address["HOST"], "user": address["USER"], "dbname": "postgres"}
        # Another process may make it at the same time.
        made_by_another = suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation)
        with psycopg.connect(**at, autocommit=True) as connection, made_by_another:
            connection.execute(f'CREATE DATABASE "{name}"')
    else:
        import MySQLdb

        connection = MySQLdb.connect(unix_socket=address["HOST"], user=address["USER"])
        connection.cursor().execute(f"CREATE DATABASE IF NOT EXISTS `{name}`")
        connection.close()
    with made.open("a") as file:
        file.write(f"{name}\n")
