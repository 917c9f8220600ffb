"""A replica gets each change that is committed on the primary, and no other change."""

import math
from contextlib import suppress
from random import Random
from sqlite3 import IntegrityError

import pytest
from replicated import Pair

from replication import log
from replication.files import ReplicationError
from tests.engines import only_sqlite

pytestmark = only_sqlite("the app replication is for SQLite; a server has its own replication")

ODD = log.quote('it\'s "odd"')
SCRIPT = f"""
    CREATE TABLE thing (id INTEGER PRIMARY KEY AUTOINCREMENT, value, label TEXT UNIQUE);
    CREATE TABLE part (
        id INTEGER PRIMARY KEY,
        thing INTEGER REFERENCES thing (id) ON DELETE CASCADE ON UPDATE CASCADE
    );
    CREATE TABLE through (
        a INTEGER, b TEXT COLLATE NOCASE, price DECIMAL, PRIMARY KEY (b, a)
    ) WITHOUT ROWID;
    CREATE TABLE {ODD} (
        "the key" TEXT PRIMARY KEY, "order" REAL,
        twice REAL AS ("order" * 2) STORED, thrice REAL AS ("order" * 3)
    );
    CREATE INDEX by_price ON through (price);
    CREATE TABLE dated (
        id INTEGER PRIMARY KEY, at TEXT,
        year AS (django_datetime_extract('year', at, NULL, NULL)) STORED
    );
"""
VALUES = [
    None,
    0,
    2**53 + 1,
    -(2**63),
    0.1 + 0.2,
    1.0,
    5e-324,
    math.inf,
    -math.inf,
    "",
    "it's\n\x00 after a NUL, Ω 🕰",
    "12",
    b"",
    b"\x00\xff'",
]


@pytest.fixture
def pair(tmp_path):
    pair = Pair(tmp_path, SCRIPT)
    yield pair
    pair.close()


def test_values_arrive_as_they_are(pair):
    for value in VALUES:
        pair.connection.execute("INSERT INTO thing (value) VALUES (?)", [value])
        pair.connection.execute("INSERT INTO through VALUES (1, hex(randomblob(9)), ?)", [value])
    pair.connection.execute(f"INSERT INTO {ODD} VALUES ('key', 0.1)")
    pair.connection.execute("INSERT INTO dated (at) VALUES ('1657-02-03 00:00:00')")
    pair.assert_equal()


@pytest.mark.parametrize("end", ["ROLLBACK", "ROLLBACK TO half; COMMIT"])
def test_what_is_rolled_back_is_not_in_the_log(pair, end):
    pair.connection.execute("BEGIN")
    pair.connection.execute("SAVEPOINT half")
    pair.connection.execute("INSERT INTO thing (value) VALUES ('never')")
    for statement in end.split(";"):
        pair.connection.execute(statement)
    assert pair.entries() == []
    pair.connection.execute("INSERT INTO thing (value) VALUES ('at last')")
    pair.assert_equal()


def test_a_statement_that_fails_half_way_is_not_in_the_log(pair):
    with pytest.raises(IntegrityError):
        pair.connection.execute("INSERT INTO thing (label) VALUES ('a'), ('b'), ('a')")
    assert pair.entries() == []


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT OR REPLACE INTO thing (id, label) VALUES (9, 'b')",  # deletes 2
        "UPDATE OR REPLACE thing SET label = 'b' WHERE id = 1",  # deletes 2
        "INSERT OR IGNORE INTO thing (label) VALUES ('b'), ('new')",
        "INSERT INTO thing (id, label) VALUES (5, 'b') "
        "ON CONFLICT (label) DO UPDATE SET value = 'upsert'",
        "UPDATE thing SET id = id + 10",  # also updates the foreign keys of its parts
        "UPDATE through SET a = a + 1",  # a row gets the old key of another row
        "UPDATE through SET b = upper(b)",  # the same key, in another case
        "DELETE FROM thing WHERE id = 2",  # also deletes its parts
        "DELETE FROM thing",
        "UPDATE thing SET label = label",
    ],
)
def test_what_the_database_does_by_itself_arrives_too(pair, statement):
    pair.connection.execute("INSERT INTO thing (label) VALUES ('a'), ('b'), ('c')")
    pair.connection.execute("INSERT INTO part (thing) VALUES (1), (2), (2), (3)")
    pair.connection.execute("INSERT INTO through VALUES (3, 'x', 1), (2, 'x', 1), (1, 'x', 1)")
    pair.assert_equal()
    with suppress(IntegrityError):
        pair.connection.execute(statement)
    pair.assert_equal()


def test_the_writer_does_not_notice(pair):
    pair.connection.execute("INSERT INTO part (id) VALUES (41)")
    cursor = pair.connection.execute("INSERT INTO part DEFAULT VALUES")
    assert (cursor.lastrowid, cursor.rowcount) == (42, 1)
    assert pair.connection.execute("UPDATE part SET id = id + 10").rowcount == 2
    assert pair.connection.execute("DELETE FROM part").rowcount == 2


@pytest.mark.parametrize("seed", range(8))
def test_random_writes(pair, seed):
    """Run transactions of random statements, and roll some back. In between, update the replica."""
    random = Random(seed)

    def key():
        return random.randrange(12)

    def statement():
        return random.choice(
            [
                ("INSERT OR REPLACE INTO thing VALUES (?, ?, ?)", [key(), value(), key()]),
                ("INSERT OR IGNORE INTO thing (value, label) VALUES (?, ?)", [value(), key()]),
                (
                    "UPDATE OR REPLACE thing SET id = ?, label = ? WHERE id = ?",
                    [key() for _ in "123"],
                ),
                ("UPDATE thing SET value = ? WHERE id > ?", [value(), key()]),
                ("DELETE FROM thing WHERE id BETWEEN ? AND ?", [key(), key()]),
                ("INSERT OR REPLACE INTO part VALUES (?, ?)", [key(), key()]),
                ("DELETE FROM part WHERE id = ?", [key()]),
                ("INSERT OR REPLACE INTO through VALUES (?, ?, ?)", [key(), key(), value()]),
                ("UPDATE OR REPLACE through SET a = a / 2, b = ? WHERE a > ?", [key(), key()]),
                ("DELETE FROM through WHERE a = ?", [key()]),
                (f"INSERT OR REPLACE INTO {ODD} VALUES (?, ?)", [key(), random.random()]),
            ]
        )

    def value():
        return random.choice(VALUES)

    for _ in range(60):
        pair.connection.execute("BEGIN")
        for _ in range(random.randrange(8)):
            with suppress(IntegrityError):
                pair.connection.execute(*statement())
        pair.connection.execute(random.choice(["COMMIT", "COMMIT", "ROLLBACK"]))
        if random.random() < 0.3:
            pair.assert_equal()
    pair.assert_equal()
    assert pair.applier.snapshots == 0


def test_a_table_without_a_primary_key_is_refused(pair):
    pair.connection.execute("CREATE TABLE keyless (a, b)")
    with pytest.raises(ReplicationError, match="^Table keyless has no primary key"):
        pair.install()


def test_installing_again_changes_nothing(pair):
    def changes():
        return pair.connection.total_changes

    before = changes()
    pair.install()
    assert changes() == before


def test_a_wider_table(pair):
    pair.connection.execute("CREATE TABLE wide (id INTEGER PRIMARY KEY, a, b, c, d, e, f)")
    pair.install()
    pair.connection.execute("INSERT INTO wide VALUES (1, 2, 3, 4, 5, 6, 7)")
    pair.assert_equal()


def test_pruning_keeps_the_latest_and_what_is_not_applied(pair, monkeypatch):
    def positions():
        rows = pair.connection.execute("SELECT position FROM replication_log ORDER BY position")
        return [position for (position,) in rows]

    pair.connection.execute("INSERT INTO part VALUES (1, NULL), (2, NULL), (3, NULL)")
    assert positions() == [1, 2, 3, 4]
    monkeypatch.setattr(log, "KEEP", 2)
    log.prune(pair.connection, applied=1)
    assert positions() == [2, 3, 4]
    log.prune(pair.connection, applied=4)
    assert positions() == [3, 4]
