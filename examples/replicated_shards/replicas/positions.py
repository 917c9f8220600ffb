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

from django.db import connections


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
    """The position in the write-ahead log (LSN) of PostgreSQL's streaming replication.

    The user of a replica's connection needs ``pg_read_all_stats``: see ``seconds_behind()``.
    """

    vendor = "postgresql"

    def written(self, connection):
        # To be asked after COMMIT, as we do. pg_current_wal_insert_lsn() may be ahead of what is
        # sent to the replicas, for as long as nobody commits. But a COMMIT that waits for no disk
        # may not be in pg_current_wal_lsn() yet.
        return ask(
            connection,
            """
            SELECT CASE current_setting('synchronous_commit')
                WHEN 'off' THEN pg_current_wal_insert_lsn() ELSE pg_current_wal_lsn()
            END::text
            """,
        )[0]

    def reached(self, connection, position):
        in_recovery, reached = ask(
            connection,
            "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn() >= %s::pg_lsn",
            position,
        )
        return reached is True if in_recovery else self.is_the_primary(connection)

    def seconds_behind(self, connection):
        # Two times are bounds, and the later one is the better: that of the last COMMIT that was
        # applied, and that of the primary's last message, when all that it had then is applied.
        # A primary that nobody writes to sends a message when it is asked for one, which is every
        # wal_receiver_timeout / 2. Whoever lacks pg_read_all_stats sees NULL for a message. Before
        # the first message of a connection both its times are when the connection was begun.
        in_recovery, seconds = ask(
            connection,
            """
            SELECT pg_is_in_recovery(), extract(epoch FROM clock_timestamp() - greatest(
                pg_last_xact_replay_timestamp(),
                (
                    SELECT least(last_msg_send_time, last_msg_receipt_time)
                    FROM pg_stat_wal_receiver
                    WHERE pg_last_wal_replay_lsn() >= latest_end_lsn
                        AND last_msg_send_time <> last_msg_receipt_time
                )
            ))
            """,
        )
        if not in_recovery:
            return 0.0 if self.is_the_primary(connection) else inf
        return inf if seconds is None else float(seconds)

    def is_the_primary(self, connection):
        """Return whether both aliases lead to one server, and not to two that take writes.

        So it is in a test with ``MIRROR``, and where the driver found no standby in a list of
        hosts. No setting tells: a name is looked up elsewhere, a service is a file's.
        """
        primary = connections[connection.settings_dict["TEST"]["MIRROR"]]
        started = "SELECT pg_postmaster_start_time()"  # in microseconds
        return ask(connection, started) == ask(primary, started)
