"""The engine of overlaid rows: the snapshot attached, and the overlaid tables over it."""

from django.db.backends.sqlite3 import base, operations
from django.db.transaction import atomic

from overlay.attached import base as attached
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


class DatabaseOperations(operations.DatabaseOperations):
    compiler_module = "overlay.backend.compiler"

    def sql_flush(self, style, tables, **options):
        """As Django's, and the local rows too: with them gone, the snapshot's are seen."""
        discard = [
            f"{style.SQL_KEYWORD('DELETE FROM')} main.{table.overlay};"
            for table in self.connection.overlaid.values()
        ]
        return super().sql_flush(style, tables, **options) + discard


class DatabaseWrapper(attached.DatabaseWrapper):
    ops_class = DatabaseOperations

    overlaid = {}

    def attach_snapshot(self):
        super().attach_snapshot()
        # KiB: each row of the snapshot is looked for among the local ones, which are to stay here.
        self.connection.execute("PRAGMA main.cache_size = -65536")
        self.lay_views()

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
