"""How far a database has come. This is all that changes with the engine.

A position is a place in the primary's log, as text that fits a cookie and a header: without a
comma. ``REPLICA_POSITION`` in the settings names the class in use. Each has a ``vendor``, Django's
name for the engine that it is for, and the same three methods:

``written(connection)``
    the position of the primary, whose connection it is: all that is committed is at or before it;
``reached(connection, position)``
    whether the replica has applied all up to ``position``;
``seconds_behind(connection)``
    how old the replica's data are, at most: infinity, when it cannot say.

All three raise ``django.db.Error`` when the database does not answer.
"""

import os
from contextlib import closing
from math import inf
from threading import Lock
from time import monotonic, time
from urllib.parse import urlsplit
from urllib.request import url2pathname

from django.conf import settings
from django.db import Error, NotSupportedError, OperationalError, connections


def ask(connection, sql, *params):
    """Return the first row, or None.

    By a cursor of the backend's own: a look at the position is no query of the page. So it is not
    among the queries at its foot, and is not sent to another database when this one fails.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, closing(connection.create_cursor()) as cursor:
        cursor.execute(sql, params or None)  # with parameters, Django looks for each "%s"
        return cursor.fetchone()


def file_of(connection):
    """Return what tells an SQLite database's file from another of its name, or None without one."""
    name = str(connection.settings_dict["NAME"])
    try:
        status = os.stat(url2pathname(urlsplit(name).path) if name.startswith("file:") else name)
    except OSError:
        return None
    return status.st_dev, status.st_ino


class LogPosition:
    """The position in the log of the app ``replication``.

    SQLite opens a file first, and at the first read its journal, by name. If the replica is removed
    and made anew in between, the rows are the old file's, and the position is the new one's. So a
    connection that is opened here is of no use where another file has the name by then.
    """

    vendor = "sqlite"

    def written(self, connection):
        # The last that was given out. The log may have been pruned: its table may be empty.
        row = ask(connection, "SELECT seq FROM sqlite_sequence WHERE name = 'replication_log'")
        return str(row[0] if row else 0)

    def reached(self, connection, position):
        row = self._ask_file(connection, "SELECT position FROM replication_position")
        return row is not None and row[0] >= int(position)

    def seconds_behind(self, connection):
        row = self._ask_file(connection, "SELECT caught_up_at FROM replication_position")
        return time() - row[0] if row else inf

    def _ask_file(self, connection, sql):
        if connection.connection is not None:
            return ask(connection, sql)
        before = file_of(connection)
        row = ask(connection, sql)
        if file_of(connection) != before:
            connection.close()
            raise OperationalError("the file was replaced while it was opened")
        return row


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


class MariaDBPosition:
    """The position in the binary log (GTID) of MariaDB's replication.

    No privilege is needed: all that is asked for is a variable of the server, and none is the
    connection's own, as ``@@last_gtid`` is, which a new connection does not have.

    The server of a replica can't tell how old its data are. ``Seconds_Behind_Master`` of ``SHOW
    SLAVE STATUS`` (which needs SLAVE MONITOR) is 0 when all that has been *received* is applied,
    and so for ``slave_net_timeout`` after the primary was last heard of. So each process notes
    where its primary is, once in a second: a replica that has reached a place has all that was
    committed when it was noted. A primary that does not answer is not asked for a while: its
    replicas grow old by the clock then, and the last place is the bound.
    """

    vendor = "mysql"

    EACH = 1  # seconds between two samples
    PATIENCE = 0.05  # seconds that a replica is given for a sample that was taken just now
    TIMEOUT = 1  # seconds that a primary may take to answer

    _samples = {}  # by the alias of a primary, oldest first: (monotonic() time, server, position)
    _sample_at = {}  # by the alias of a primary, the time of the next
    _lock = Lock()

    def written(self, connection):
        (position, logs) = ask(connection, "SELECT @@gtid_binlog_pos, @@sql_log_bin")
        if not (position and logs):
            raise NotSupportedError("nothing is written to the binary log (log_bin, sql_log_bin)")
        return position.replace(",", "_")

    def reached(self, connection, position):
        server, applied = self._applied(connection)
        if _has_reached(applied, position):
            return True
        samples, _ = self._sample(connection.settings_dict["TEST"]["MIRROR"])
        return any(server == primary for _, primary, _ in samples[-1:])

    def seconds_behind(self, connection):
        samples, is_new = self._sample(connection.settings_dict["TEST"]["MIRROR"])
        if is_new:
            position = samples[-1][2].replace("_", ",")
            ask(connection, "SELECT MASTER_GTID_WAIT(%s, %s)", position, self.PATIENCE)
        server, applied = self._applied(connection)
        for noted_at, primary, position in reversed(samples):
            if server == primary:
                return 0.0  # the primary by another name: as in a test, or after a promotion
            if _has_reached(applied, position):
                return monotonic() - noted_at
        return inf

    def _applied(self, connection):
        """Return which server it is, and the position that it has applied."""
        *server, applied = ask(
            connection, "SELECT @@hostname, @@port, @@datadir, @@server_id, @@gtid_slave_pos"
        )
        return server, applied.replace(",", "_")

    def _sample(self, primary):
        """Return the samples of the primary, and whether the last of them was taken just now."""
        with self._lock:
            now = monotonic()
            if now < self._sample_at.get(primary, 0):
                return self._samples.get(primary, ()), False
            self._sample_at[primary] = now + settings.REPLICA_RETRY  # until it has answered
        # A connection of its own, which waits for no longer than this, whatever the settings say. A
        # new one, which goes to where the address leads by now: an old one might stay for ever with
        # a server that is no primary any more, and whose position no longer moves.
        connection = connections[primary].copy()
        limits = dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), self.TIMEOUT)
        connection.settings_dict["OPTIONS"] = connection.settings_dict["OPTIONS"] | limits
        try:
            server, _ = self._applied(connection)
            position = self.written(connection)
        except Error:
            return self._samples.get(primary, ()), False
        finally:
            connection.close()
        oldest = now - settings.REPLICA_MAX_LAG
        kept = [sample for sample in self._samples.get(primary, ()) if sample[0] >= oldest]
        self._samples[primary] = samples = (*kept, (now, server, position))
        self._sample_at[primary] = now + self.EACH
        return samples, True


def _has_reached(applied, position):
    """Return whether one GTID position is at or after another, in each domain that it names."""
    applied, wanted = (
        {gtid.split("-")[0]: int(gtid.split("-")[2]) for gtid in text.split("_") if gtid}
        for text in (applied, position)
    )
    return all(applied.get(domain, 0) >= number for domain, number in wanted.items())
