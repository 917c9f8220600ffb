import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from random import Random

import pytest
from replicated import Pair, contents, open_file

from replication import log, snapshot
from replication.applier import Applier
from replication.files import NeedsSnapshot, ReplicationError, hold, is_held, uri
from tests.engines import only_sqlite

pytestmark = only_sqlite("the app replication is for SQLite; a server has its own replication")

KILLS = 50 if os.environ.get("STRESS") else 5
ROWS = 500  # in each transaction of the writer, which runs through all kills


@pytest.fixture
def pair(tmp_path):
    pair = Pair(tmp_path, "CREATE TABLE thing (id INTEGER PRIMARY KEY, value)")
    yield pair
    pair.close()


def add(pair, count=1):
    pair.connection.executemany("INSERT INTO thing (value) VALUES (?)", [["new"]] * count)


def things(pair):
    with closing(open_file(pair.replica, "ro")) as connection:
        return connection.execute("SELECT count(*) FROM thing").fetchone()[0]


def test_it_resumes_where_it_stopped(pair):
    add(pair, 3)
    pair.applier.step()
    pair.applier.close()
    add(pair, 2)
    other = Applier(pair.primary, pair.replica)
    other.step()
    assert (other.applied, things(pair)) == (2, 5)
    other.close()


def test_the_position_is_where_the_rows_are(pair):
    add(pair, 3)
    pair.applier.step()
    with closing(open_file(pair.replica, "ro")) as connection:
        (row,) = connection.execute("SELECT position, caught_up_at FROM replication_position")
    assert row[0] == 4 and 0 <= time.time() - row[1] < 5


def test_up_to_date_it_says_so_from_time_to_time(pair, monkeypatch):
    def caught_up_at():
        with closing(open_file(pair.replica, "ro")) as connection:
            return connection.execute("SELECT caught_up_at FROM replication_position").fetchone()[0]

    monkeypatch.setattr("replication.applier.HEARTBEAT", 0.05)
    before = caught_up_at()
    time.sleep(0.06)
    pair.applier.step()
    assert caught_up_at() > before


def test_a_delay(pair):
    pair.applier.delay = 0.2
    add(pair)
    pair.applier.step()
    assert things(pair) == 0
    time.sleep(0.1)
    add(pair)
    pair.applier.step()
    time.sleep(0.12)
    pair.applier.step()
    assert things(pair) == 1  # the row that is 0.22 s old, not the row that is 0.12 s old
    time.sleep(0.1)
    pair.applier.step()
    assert things(pair) == 2
    assert time.time() - pair.applier.caught_up_at >= 0.2


def test_a_reader_keeps_what_it_began_to_read_and_stops_nobody(pair):
    """This is true while the applier writes, and while a snapshot replaces the rows."""
    with closing(open_file(pair.replica, "ro")) as reader:
        for change in (pair.applier.step, lambda: snapshot.take(pair.primary, pair.replica)):
            reader.execute("BEGIN")
            (before,) = reader.execute("SELECT count(*) FROM thing").fetchone()
            add(pair, 3)
            change()
            assert reader.execute("SELECT count(*) FROM thing").fetchone() == (before,)
            reader.execute("COMMIT")
            assert reader.execute("SELECT count(*) FROM thing").fetchone() == (before + 3,)


def test_a_replica_has_no_triggers(pair):
    with closing(open_file(pair.replica, "ro")) as connection:
        assert not connection.execute(
            "SELECT * FROM sqlite_master WHERE type = 'trigger' OR name = 'replication_log'"
        ).fetchall()


def test_a_replica_follows_a_change_of_schema(pair):
    add(pair)
    pair.connection.execute("ALTER TABLE thing ADD COLUMN colour DEFAULT 'red'")
    pair.install()
    pair.connection.execute("INSERT INTO thing VALUES (9, 'a', 'blue')")
    pair.assert_equal()
    assert pair.applier.snapshots == 1
    pair.connection.execute("INSERT INTO thing VALUES (10, 'b', 'green')")
    pair.assert_equal()
    assert pair.applier.snapshots == 1


def test_what_was_written_while_the_triggers_were_gone_arrives(pair):
    """As in a data migration. The schema is the same before and after."""
    log.remove_triggers(pair.connection)
    add(pair)
    assert pair.entries() == []
    with pytest.raises(ReplicationError, match="Run: python manage.py migrate"):
        pair.applier.step()
    pair.install()
    pair.assert_equal()


def test_an_index_arrives(pair):
    pair.connection.execute("CREATE INDEX by_value ON thing (value)")
    pair.install()
    pair.assert_equal()


def needs_snapshot(pair):
    with pytest.raises(NeedsSnapshot) as error:
        pair.applier.step()
    pair.applier.close()
    snapshot.take(pair.primary, pair.replica)
    pair.assert_equal()
    return str(error.value)


def test_a_replica_that_is_missing(pair):
    add(pair)
    pair.applier.step()
    pair.replica.unlink()
    assert needs_snapshot(pair) == "missing"


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_replica_that_is_no_database(pair, size):
    pair.applier.step()
    pair.applier.close()
    pair.replica.write_bytes(b"x" * size)
    assert needs_snapshot(pair).startswith("broken (")


def test_a_replica_that_is_behind_the_log(pair, monkeypatch):
    monkeypatch.setattr(log, "KEEP", 4)
    add(pair, 5)
    log.prune(pair.connection, applied=6)
    assert needs_snapshot(pair) == "at position 1, but the log begins at 3"


def test_a_replica_that_is_just_not_behind_the_log(pair, monkeypatch):
    monkeypatch.setattr(log, "KEEP", 5)
    add(pair, 5)
    log.prune(pair.connection, applied=6)
    pair.assert_equal()


def test_a_replica_of_a_primary_that_was_made_anew(pair, tmp_path):
    """Its position is not valid, because the new primary has another log."""
    pair.connection.close()
    pair.applier.step()
    for file in tmp_path.glob("primary*"):
        file.unlink()
    folder = tmp_path / "new"
    folder.mkdir()
    new = Pair(folder, "CREATE TABLE thing (id INTEGER PRIMARY KEY, value)")
    add(new, 5)
    new.close()
    (folder / "primary.sqlite3").rename(pair.primary)
    assert needs_snapshot(pair) == "a replica of another primary"


def test_only_one_process_replicates_to_a_replica(pair):
    assert not is_held(pair.replica)
    with closing(hold(pair.replica)):
        assert is_held(pair.replica)
        with pytest.raises(
            ReplicationError, match="^Another process replicates to replica.sqlite3"
        ):
            pair.applier.step()
    assert not is_held(pair.replica)
    pair.applier.step()
    assert is_held(pair.replica)


class Writer(threading.Thread):
    """Writes transactions of ROWS rows each, and deletes old rows, until ``stopping`` is set."""

    def __init__(self, path):
        super().__init__()
        self.path, self.stopping, self.error = path, threading.Event(), None

    def run(self):
        with closing(open_file(self.path)) as connection:
            number = 0
            while not self.stopping.wait(0.002):
                number += 1
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(
                    "INSERT INTO products_product (name, description, price) VALUES (?, '', ?)",
                    [[f"Clock {number}", n] for n in range(ROWS)],
                )
                connection.execute(
                    "DELETE FROM products_product WHERE name = ?", [f"Clock {number - 20}"]
                )
                connection.execute(["COMMIT", "COMMIT", "ROLLBACK"][number % 3])


def position(reader):
    return reader.execute("SELECT position FROM replication_position").fetchone()[0]


def test_killed_at_any_moment_it_goes_on(manage):
    """Meanwhile a writer writes to the primary. Readers see whole transactions, and no error."""
    random = Random(0)
    assert manage("migrate", "-v", "0").returncode == 0
    assert manage("replicate", "--snapshot").returncode == 0
    file = manage.folder / "replica1.sqlite3"
    writer = Writer(manage.folder / "default.sqlite3")
    writer.start()
    try:
        with closing(sqlite3.connect(uri(file, "ro"), uri=True)) as reader:
            for _ in range(KILLS):
                command = random.choice([["--follow"], ["--follow"], ["--follow", "--snapshot"]])
                process = subprocess.Popen(
                    [sys.executable, "manage.py", "replicate", *command],
                    cwd=manage.folder,
                    stdout=subprocess.DEVNULL,
                )
                start, until = position(reader), time.monotonic() + 30
                moved = False
                while time.monotonic() < until:
                    (rows,) = reader.execute("SELECT count(*) FROM products_product").fetchone()
                    assert rows % ROWS == 0
                    if not moved and position(reader) > start:
                        moved, until = True, time.monotonic() + random.uniform(0, 0.2)
                assert moved
                process.send_signal(signal.SIGKILL)
                assert process.wait() == -signal.SIGKILL
    finally:
        writer.stopping.set()
        writer.join()
    process = manage("replicate")
    assert (process.returncode, process.stderr) == (0, "")
    expected = contents(manage.folder / "default.sqlite3")
    assert contents(file) == expected
    assert contents(manage.folder / "replica2.sqlite3") == expected
