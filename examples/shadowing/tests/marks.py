"""What only SQLite can do."""

from tests.engines import only_sqlite

rows = only_sqlite("rows are overlaid on SQLite alone: elsewhere `check` refuses OVERLAID")
joins = only_sqlite("SQLite alone attaches the snapshot, so that a join reaches it")
files = only_sqlite("of the files that SQLite's databases are")
