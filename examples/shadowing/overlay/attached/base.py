"""Django's engine for SQLite, with a snapshot attached: for tables that are shadowed whole.

SQLite looks for a table in the local file first, and in the snapshot next, so a local table can be
joined to one of the snapshot's. The snapshot is attached read-only whatever its own settings say.
A snapshot on a server can't be attached, and is read without joins.
"""

from pathlib import Path
from urllib.parse import unquote

from django.conf import settings
from django.db import OperationalError, connections
from django.db.backends.sqlite3 import base, features, schema


class DatabaseFeatures(features.DatabaseFeatures):
    # What a local row refers to may be in the snapshot, where SQLite looks for no key. So the
    # tables that are made here get no constraint, and Django's tests check none.
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
            # Without its snapshot, it would be a connection that says something else.
            self.connection.close()
            self.connection = None
            raise

    def attach_snapshot(self):
        alias = settings.SNAPSHOT_DATABASE
        if connections[alias].vendor != "sqlite":
            return  # on a server: its rows are read there, and joined to nothing here
        uri = str(connections.settings[alias]["NAME"])
        file, _, parameters = uri.partition("?")
        if "mode=memory" not in parameters:  # as that of a test database is
            path = Path(unquote(file.removeprefix("file:")))
            if not path.exists():
                raise OperationalError(
                    f'There is no snapshot: database "{alias}" is to be {path}. '
                    "manage.py snapshot makes it, with production's settings."
                )
            uri = f"{path.absolute().as_uri()}?mode=ro"
        self.connection.execute("ATTACH ? AS snapshot", [uri])
