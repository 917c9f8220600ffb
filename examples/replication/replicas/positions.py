"""The position of a database in the primary's log. Only this module depends on the engine.

A position is a string without a comma, so that it can be stored in a cookie and sent in a header.
The setting ``REPLICA_POSITION`` names the class that the project uses. Each class has a ``vendor``,
which is Django's name for its engine, and the same three methods:

``written(connection)``
    Return the position of the primary. All that is committed is at or before this position.
``reached(connection, position)``
    Return whether the replica has applied the log up to ``position``.
``seconds_behind(connection)``
    Return how old the replica's data is at most, or infinity if this is unknown.

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

    Use a cursor of the database backend, without execute wrappers. So the query for a position is
    not listed among the queries of the page, and is not sent to the primary if the replica fails.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, closing(connection.create_cursor()) as cursor:
        cursor.execute(sql, params or None)  # with parameters, Django looks for each "%s"
        return cursor.fetchone()


def file_of(connection):
    """Return the identity of an SQLite database's file, or None if there is no file."""
    name = str(connection.settings_dict["NAME"])
    try:
        status = os.stat(url2pathname(urlsplit(name).path) if name.startswith("file:") else name)
    except OSError:
        return None
    return status.st_dev, status.st_ino


class LogPosition:
    """The position in the log of the app ``replication``.

    SQLite opens the database file first, and its journal at the first read, by name. If the replica
    was replaced between the two, the rows would come from the old file and the position from the
    new file. So a new connection is closed again if the file has been replaced.
    """

    vendor = "sqlite"

    def written(self, connection):
        # The last position that was assigned. The log may have been pruned, so its table may be
        # empty.
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
        # This must be called after COMMIT. pg_current_wal_insert_lsn() may be ahead of the log that
        # is sent to the replicas, until the next COMMIT. But with synchronous_commit = off, a
        # COMMIT does not wait for the disk, and may not be in pg_current_wal_lsn() yet.
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
        # The data is at least as new as each of two times, so the later time counts: the time of
        # the last COMMIT that was applied, and the time of the primary's last message, if all that
        # the message announced is applied. An idle primary sends a message when the standby asks
        # for it, every wal_receiver_timeout / 2. Without pg_read_all_stats, the columns of the
        # message are NULL. Before the first message of a connection, both columns have the time
        # at which the connection started.
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
        """Return whether the replica's connection leads to the server of the primary.

        This happens in a test with ``MIRROR``, and when the driver found no standby in a list of
        hosts. The settings cannot show it: a host name is resolved by DNS, and a service is
        defined in a file. This server accepts writes, so if it is another one, two servers do.
        """
        primary = connections[connection.settings_dict["TEST"]["MIRROR"]]
        started = "SELECT pg_postmaster_start_time()"  # in microseconds
        return ask(connection, started) == ask(primary, started)


class MariaDBPosition:
    """The position in the binary log (GTID) of MariaDB's replication.

    No privilege is needed, because all queries read variables of the server. ``@@last_gtid`` is not
    used, because it is a variable of one connection, and a new connection does not have it.

    A replica's server cannot tell how old its data is. ``Seconds_Behind_Master`` of ``SHOW SLAVE
    STATUS`` (which needs SLAVE MONITOR) is 0 when all that was *received* is applied. It stays 0
    for ``slave_net_timeout`` seconds after the last message from the primary. So each process
    samples the position of its primary once a second. A replica that has reached the position of a
    sample has all that was committed at the time of the sample. A primary that does not answer is
    not asked again for a while. Until then the last sample counts, and the lag grows.
    """

    vendor = "mysql"

    EACH = 1  # seconds between two samples
    PATIENCE = 0.05  # seconds to wait for a replica to reach a new sample
    TIMEOUT = 1  # seconds that a primary may take to answer

    _samples = {}  # by the alias of a primary, oldest first: (monotonic() time, server, position)
    _sample_at = {}  # by the alias of a primary, the time of the next sample
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
                return 0.0  # the server of the primary: in a test, or after a promotion
            if _has_reached(applied, position):
                return monotonic() - noted_at
        return inf

    def _applied(self, connection):
        """Return the identity of the server, and the position that it has applied."""
        *server, applied = ask(
            connection, "SELECT @@hostname, @@port, @@datadir, @@server_id, @@gtid_slave_pos"
        )
        return server, applied.replace(",", "_")

    def _sample(self, primary):
        """Return the samples of the primary, and whether this call has taken the last sample."""
        with self._lock:
            now = monotonic()
            if now < self._sample_at.get(primary, 0):
                return self._samples.get(primary, ()), False
            self._sample_at[primary] = now + settings.REPLICA_RETRY  # until it has answered
        # A separate connection, with short timeouts. It is new for each sample, and so goes to the
        # server that the address leads to now. An old connection could stay open to a server that
        # is not the primary any more, and whose position does not change.
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
    """Return whether ``applied`` is at or after ``position``, in each GTID domain of the latter."""
    applied, wanted = (
        {gtid.split("-")[0]: int(gtid.split("-")[2]) for gtid in text.split("_") if gtid}
        for text in (applied, position)
    )
    return all(applied.get(domain, 0) >= number for domain, number in wanted.items())
