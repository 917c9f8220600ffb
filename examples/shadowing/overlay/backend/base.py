"""The engine for overlaid rows: it attaches the snapshot, and makes the views and triggers."""

from django.db.backends.sqlite3 import base, operations
from django.db.transaction import atomic

from overlay.attached import base as attached
from overlay.tables import OverlaidTable, overlaid_models


class Cursor(base.SQLiteCursorWrapper):
    """Counts the rows that a statement changed through a view. SQLite's own count is 0."""

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
        # SQLite's own count is used first, because total_changes also counts the rows that a
        # table's triggers change.
        return super().rowcount or self.changes


class DatabaseOperations(operations.DatabaseOperations):
    compiler_module = "overlay.backend.compiler"

    def sql_flush(self, style, tables, **options):
        """As Django's, and delete the local rows: then the snapshot's rows are shown again."""
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
        # 64 MiB. Each row of the snapshot is looked up among the local rows, so keep those cached.
        self.connection.execute("PRAGMA main.cache_size = -65536")
        self.lay_views()

    def lay_views(self):
        """Make the views. ``overlaid`` becomes a dict, by model, of the complete tables."""
        self.overlaid = {}
        for model in overlaid_models():
            table = OverlaidTable(model, self)
            table.check()
            for statement in table.views():
                self.connection.execute(statement)
            if table.is_made:
                self.overlaid[model] = table

    def make_overlay(self):
        """Make the missing tables and columns of the local rows, and make the views again."""
        self.ensure_connection()
        with atomic(self.alias):
            for model in overlaid_models():
                table = OverlaidTable(model, self)
                # SQLite can't alter a table while a view names a column that doesn't exist.
                for statement in [*table.drop(), *([] if table.is_made else table.make())]:
                    self.connection.execute(statement)
            self.lay_views()

    def create_cursor(self, name=None):
        return self.connection.cursor(factory=Cursor)
