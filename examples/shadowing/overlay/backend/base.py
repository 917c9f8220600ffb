"""Django's engine for SQLite, with a snapshot attached, and the overlaid tables over it.

``OPTIONS["snapshot"]`` is the alias of the snapshot, which is attached read-only whatever its own
settings say.
"""

from pathlib import Path
from urllib.parse import unquote

from django.db import OperationalError, connections
from django.db.backends.sqlite3 import base, features, operations, schema
from django.db.transaction import atomic

from overlay.tables import OverlaidTable, overlaid_models


class Cursor(base.SQLiteCursorWrapper):
    """Counts the rows that were changed through a view, of which SQLite says that they are 0."""

    changes = 0

    def execute(self, query, params=None):
        before = self.connection.total_changes
        super().execute(query, params)
        self.changes = self.connection.total_changes - before
        return self

    def executemany(self, query, param_list):
        before = self.connection.total_changes
        super().executemany(query, param_list)
        self.changes = self.connection.total_changes - before
        return self

    @property
    def rowcount(self):
        # total_changes alone would do for a view, but not for a table with triggers of its own.
        return super().rowcount or self.changes


class DatabaseFeatures(features.DatabaseFeatures):
    # What a local row refers to may be in the snapshot, where SQLite looks for no key. So the
    # tables that are made here get no constraint, and Django's tests check none.
    supports_foreign_keys = False


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    sql_create_inline_fk = None
    sql_create_column_inline_fk = None


class DatabaseOperations(operations.DatabaseOperations):
    compiler_module = "overlay.backend.compiler"

    def sql_flush(self, style, tables, **options):
        """As Django's, and the local rows too: with them gone, the snapshot's are seen."""
        discard = [
            f"{style.SQL_KEYWORD('DELETE FROM')} main.{table.overlay};"
            for table in self.connection.overlaid.values()
        ]
        return super().sql_flush(style, tables, **options) + discard


class DatabaseWrapper(base.DatabaseWrapper):
    SchemaEditorClass = DatabaseSchemaEditor
    features_class = DatabaseFeatures
    ops_class = DatabaseOperations

    overlaid = {}

    def get_connection_params(self):
        params = super().get_connection_params()
        params.pop("snapshot")
        return params

    def init_connection_state(self):
        super().init_connection_state()
        try:
            self.attach_snapshot()
            self.lay_views()
        except Exception:
            # Without its views, it would be a connection that says something else.
            self.connection.close()
            self.connection = None
            raise

    def attach_snapshot(self):
        alias = self.settings_dict["OPTIONS"]["snapshot"]
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
        # KiB: each row of the snapshot is looked for among the local ones, which are to stay here.
        self.connection.execute("PRAGMA main.cache_size = -65536")

    def lay_views(self):
        """Make the views; ``overlaid`` becomes a dict of what is fit to be used, by model."""
        self.overlaid = {}
        for model in overlaid_models():
            table = OverlaidTable(model, self)
            table.check()
            for statement in table.views():
                self.connection.execute(statement)
            if table.is_made:
                self.overlaid[model] = table

    def make_overlay(self):
        """Make the tables of the local rows, as far as they are missing, and the views anew."""
        self.ensure_connection()
        with atomic(self.alias):
            for model in overlaid_models():
                table = OverlaidTable(model, self)
                # SQLite alters no table while a view names what isn't there.
                for statement in [*table.drop(), *([] if table.is_made else table.make())]:
                    self.connection.execute(statement)
            self.lay_views()

    def create_cursor(self, name=None):
        return self.connection.cursor(factory=Cursor)
