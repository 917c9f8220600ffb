"""Django's engine for SQLite, with the snapshot attached: for tables that are local as a whole.

SQLite looks for a table first in the local file, and then in the snapshot, so a query can join a
local table to a table of the snapshot. The snapshot is always attached read-only, even if its own
settings allow writes. A snapshot on a server can't be attached, so it can't be joined.
"""

from pathlib import Path
from urllib.parse import unquote

from django.conf import settings
from django.db import OperationalError, connections
from django.db.backends.sqlite3 import base, features, schema


class DatabaseFeatures(features.DatabaseFeatures):
    # A local row may refer to a row of the snapshot, and a foreign key of SQLite can't refer to
    # another file. So the local tables get no foreign keys, and Django's tests check none.
    supports_foreign_keys = False


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    sql_create_inline_fk = None
    sql_create_column_inline_fk = None


class DatabaseWrapper(base.DatabaseWrapper):
    SchemaEditorClass = DatabaseSchemaEditor
    features_class = DatabaseFeatures

    def init_connection_state(self):
        super().init_connection_state()
        try:
            self.attach_snapshot()
        except Exception:
            # A connection without the snapshot would give other answers, so keep none open.
            self.connection.close()
            self.connection = None
            raise

    def attach_snapshot(self):
        alias = settings.SNAPSHOT_DATABASE
        if connections[alias].vendor != "sqlite":
            return  # a snapshot on a server: it is read there, and can't be joined
        uri = str(connections.settings[alias]["NAME"])
        file, _, parameters = uri.partition("?")
        if "mode=memory" not in parameters:  # a test database is in memory
            path = Path(unquote(file.removeprefix("file:")))
            if not path.exists():
                raise OperationalError(
                    f'There is no snapshot: {path}, the file of database "{alias}", does not '
                    "exist. To make it, run manage.py snapshot with production's settings."
                )
            uri = f"{path.absolute().as_uri()}?mode=ro"
        self.connection.execute("ATTACH ? AS snapshot", [uri])
