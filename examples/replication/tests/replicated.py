"""A primary and its replica for one test: two SQLite files, without models or a server."""

from contextlib import closing

from replication import log, snapshot
from replication.applier import Applier
from replication.files import connect, transaction


def open_file(path, mode="rwc"):
    connection = connect(path, mode)
    connection.execute("PRAGMA synchronous = OFF")  # the files need not survive a power cut
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def contents(path):
    """Return the SQL of a file's tables and indexes, and the rows of each table.

    Triggers, and the tables of the app ``replication``, are left out. The rows are sorted by their
    ``repr()``, which shows the type of each value.
    """
    with closing(open_file(path, "ro")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        master = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type <> 'trigger' "
            "AND name NOT GLOB 'sqlite_*' AND tbl_name NOT GLOB 'replication_*'"
        ).fetchall()
        tables = [name for name, sql in master if sql.startswith("CREATE TABLE")]
        rows = {
            table: sorted(map(repr, connection.execute(f"SELECT * FROM {log.quote(table)}")))
            for table in tables
        }
    return sorted(master), rows


class Pair:
    """A primary that an SQL script creates, and its replica, which starts with a snapshot."""

    def __init__(self, folder, script):
        self.primary, self.replica = folder / "primary.sqlite3", folder / "replica.sqlite3"
        self.connection = open_file(self.primary)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.executescript(script)
        self.install()
        snapshot.take(self.primary, self.replica)
        self.applier = Applier(self.primary, self.replica)

    def install(self):
        with transaction(self.connection):
            log.install(self.connection)

    def entries(self):
        return self.connection.execute(
            "SELECT change, table_name, c1 FROM replication_log WHERE change <> 'schema'"
        ).fetchall()

    def close(self):
        self.connection.close()
        self.applier.close()

    def assert_equal(self):
        self.applier.step()
        assert contents(self.replica) == contents(self.primary)
