"""Records each database that a process of a page connects to, with its version."""

import os

from livedocs_imports import after_import

NOTED = set()


def watch() -> None:
    after_import(
        "django.db.backends.signals",
        lambda signals: signals.connection_created.connect(note_connection),
    )


def note_connection(connection, **kwargs) -> None:
    if connection.alias in NOTED:  # Once only: on a new connection, the version may cost a query.
        return
    NOTED.add(connection.alias)
    version = ".".join(map(str, connection.get_database_version()))
    with open(os.environ["LIVEDOCS_CONNECTED"], "a") as file:
        file.write(f"{connection.alias} {connection.display_name} {version}\n")
