"""How far a database has come. This is all that changes with the engine.

A position is a place in the primary's log, as text that fits a cookie. ``REPLICA_POSITION`` in the
settings names the class in use. Each has a ``vendor``, Django's name for the engine that it is for,
and the same three methods:

``written(connection)``
    the position of the primary, whose connection it is: all that is committed is at or before it;
``reached(connection, position)``
    whether the replica has applied all up to ``position``;
``seconds_behind(connection)``
    how old the replica's data are, at most: infinity, when it cannot say.

All three raise ``django.db.Error`` when the database does not answer.
"""

from contextlib import closing
from math import inf
from time import time


def ask(connection, sql, *params):
    """Return the first row, or None.

    By a cursor of the backend's own: a look at the position is no query of the page. So it is not
    among the queries at its foot, and is not sent to another database when this one fails.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, closing(connection.create_cursor()) as cursor:
        cursor.execute(sql, params)
        return cursor.fetchone()


class LogPosition:
    """The position in the log of the app ``replication``."""

    vendor = "sqlite"

    def written(self, connection):
        # The last that was given out. The log may have been pruned: its table may be empty.
        row = ask(connection, "SELECT seq FROM sqlite_sequence WHERE name = 'replication_log'")
        return str(row[0] if row else 0)

    def reached(self, connection, position):
        row = ask(connection, "SELECT position FROM replication_position")
        return row is not None and row[0] >= int(position)

    def seconds_behind(self, connection):
        row = ask(connection, "SELECT caught_up_at FROM replication_position")
        return time() - row[0] if row else inf


class PostgresPosition:
    """The position in the write-ahead log (LSN) of PostgreSQL's streaming replication."""

    vendor = "postgresql"

    def written(self, connection):
        # To be asked after COMMIT, as we do. Not pg_current_wal_insert_lsn(): that may be ahead of
        # what is sent to the replicas, for as long as nobody commits.
        return ask(connection, "SELECT pg_current_wal_lsn()::text")[0]

    def reached(self, connection, position):
        return ask(connection, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", position)[0] is True

    def seconds_behind(self, connection):
        # A primary that nobody writes to sends nothing to apply: then a replica that is connected,
        # and has applied all that it received, is not behind however long ago the last COMMIT was.
        (seconds,) = ask(
            connection,
            """
            SELECT CASE
                WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
                    AND EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 0
                ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())
            END
            """,
        )
        return inf if seconds is None else float(seconds)
