import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing

import pytest

from tests.engines import only_sqlite

pytestmark = only_sqlite("the command is for SQLite: elsewhere a dump is restored")

# Moves a penny from one product to another, for ever; the sum of prices stays. It says when the
# first ten are done, and how many there were at the end, which is when its input ends.
WRITER = """
import sqlite3, sys, threading, time
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
live = sqlite3.connect("live.sqlite3", isolation_level=None, timeout=30)
done = 0
while not stop.is_set():
    live.execute("BEGIN IMMEDIATE")
    a, b = done % 40 + 1, (done + 17) % 40 + 1
    live.execute("UPDATE products_product SET price = price - 1 WHERE id = ?", [a])
    live.execute("UPDATE products_product SET price = price + 1 WHERE id = ?", [b])
    live.execute("INSERT INTO products_category (name) VALUES (?)", [f"written {done}"])
    live.execute("COMMIT")
    done += 1
    time.sleep(0.002)
    if done == 10:
        print("writing", flush=True)
print(done)
"""


def query(file, sql, *parameters):
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(sql, parameters).fetchall()


def set_personal(shop, personal):
    with (shop.folder / "shop" / "live.py").open("a") as live:
        live.write(f"\nPERSONAL = {personal!r}\n")


def test_what_is_personal_is_masked_and_the_rest_is_kept(shop):
    live, snapshot = shop.folder / "live.sqlite3", shop.folder / "snapshot.sqlite3"
    assert query(snapshot, "SELECT name, email, phone FROM customers_customer WHERE id = 7") == [
        ("Customer 7", "customer7@clocks.example", None)
    ]
    for table in ("products_product", "customers_order", "reviews_review", "listings_listing"):
        rows = query(live, f"SELECT * FROM {table} ORDER BY id")
        assert rows and rows == query(snapshot, f"SELECT * FROM {table} ORDER BY id")
    assert query(snapshot, "PRAGMA integrity_check") == [("ok",)]
    assert query(snapshot, "PRAGMA foreign_key_check") == []


def test_none_for_a_model_leaves_its_rows_out(shop):
    code = (
        "from django.contrib.sessions.backends.db import SessionStore;"
        "s = SessionStore(); s['a'] = 1; s.save()"
    )
    shop.does("shell", "-c", code, live=True)
    assert "sessions.Session: 1 rows left out." in shop.does("snapshot", live=True)
    assert query(shop.folder / "snapshot.sqlite3", "SELECT COUNT(*) FROM django_session") == [(0,)]


def test_no_byte_of_what_is_personal_is_left(shop):
    """Not in a row, nor in an index, nor in the free space that an UPDATE leaves in a page."""
    live, snapshot = shop.folder / "live.sqlite3", shop.folder / "snapshot.sqlite3"
    # Rows of production that were deleted lie in its free pages.
    with closing(sqlite3.connect(live)) as connection, connection:
        connection.execute("PRAGMA secure_delete = OFF")  # which is SQLite's default, not Debian's
        for n in range(2000):
            connection.execute(
                "INSERT INTO customers_customer (name, email) VALUES ('Gone Person', ?)",
                [f"gone.person{n}@post.example"],
            )
        connection.commit()
        connection.execute("DELETE FROM customers_customer WHERE name = 'Gone Person'")
    shop.does("snapshot", live=True)
    secrets = [b"gone.person", b"Gone Person"]
    for row in query(live, "SELECT name, email, phone FROM customers_customer"):
        secrets += [value.encode() for value in row if value]
    before, after = live.read_bytes(), snapshot.read_bytes()
    assert len(secrets) > 40 and all(secret in before for secret in secrets)
    assert [secret for secret in secrets if secret in after] == []


def test_the_file_is_for_reading_only_and_alone(shop):
    snapshot = shop.folder / "snapshot.sqlite3"
    assert stat.S_IMODE(snapshot.stat().st_mode) == 0o444
    assert query(snapshot, "PRAGMA journal_mode") == [("delete",)]  # no -wal beside it to write to
    assert sorted(path.name for path in shop.folder.glob("snapshot*")) == ["snapshot.sqlite3"]


def test_a_reader_of_the_one_before_reads_on(shop):
    snapshot = shop.folder / "snapshot.sqlite3"
    with closing(sqlite3.connect(f"{snapshot.as_uri()}?mode=ro", uri=True)) as reader:
        before = reader.execute("SELECT COUNT(*) FROM products_product").fetchone()
        shop.does("populate", "--products=50", live=True)
        shop.does("snapshot", live=True)
        assert reader.execute("SELECT COUNT(*) FROM products_product").fetchone() == before
    assert query(snapshot, "SELECT COUNT(*) FROM products_product") == [(50,)]


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_it_is_of_one_moment_while_it_is_written_to(shop, mode):
    live, snapshot = shop.folder / "live.sqlite3", shop.folder / "snapshot.sqlite3"
    with closing(sqlite3.connect(live)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        # Large enough that the copy is made in several steps.
        connection.execute("CREATE TABLE ballast AS SELECT zeroblob(60000000) AS weight")
        connection.commit()
    ((total,),) = query(live, "SELECT SUM(price) FROM products_product")
    settings = shop.folder / "shop" / "live.py"
    settings.write_text(settings.read_text() + 'HARMLESS |= {"ballast": ["weight"]}\n')
    if mode == "delete":
        settings.write_text(settings.read_text().replace("= WAL", "= DELETE"))
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER],
        cwd=shop.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert writer.stdout.readline() == "writing\n"
        counts = []
        for _ in range(3):
            shop.does("snapshot", live=True)
            ((sum_of_prices,),) = query(snapshot, "SELECT SUM(price) FROM products_product")
            assert sum_of_prices == pytest.approx(total)
            ((count,),) = query(snapshot, "SELECT COUNT(*) FROM products_category")
            counts.append(count)
        written, _ = writer.communicate()
    finally:
        writer.kill()
        writer.wait()
    # The writer was not held up, and wrote between the snapshots, and after the last.
    assert counts[0] < counts[1] < counts[2] < int(written) + 11


@pytest.mark.parametrize(
    ("personal", "message"),
    [
        ({"customers.Custommer": {}}, "there is no model customers.Custommer."),
        ({"Customer": {}}, "there is no model Customer."),
        ({"customers.Customer": {"nickname": ""}}, "customers.Customer has no column nickname."),
        ({"customers.Customer": {"orders": ""}}, "customers.Customer has no column orders."),
        (
            {"customers.Customer": {"name": None}},
            "customers.Customer.name can't be NULL. Write a text.",
        ),
        (
            {"customers.Customer": {"email": "a@clocks.example"}},
            "customers.Customer.email is unique. Write {pk} in its text.",
        ),
        (
            {"customers.Customer": {"email": "customer {pk}"}},
            "customers.Customer.email: Enter a valid email address.",
        ),
        (
            {"customers.Customer": {"phone": "call me on {pk}, in the evening"}},
            "customers.Customer.phone: Ensure this value has at most 30 characters (it has 43).",
        ),
    ],
)
def test_a_wrong_mask_is_told_before_anything_is_copied(shop, personal, message):
    before = (shop.folder / "snapshot.sqlite3").read_bytes()
    set_personal(shop, personal)
    process = shop("snapshot", live=True)
    assert process.returncode == 1
    assert process.stderr == f"CommandError: PERSONAL: {message}\n"
    assert (shop.folder / "snapshot.sqlite3").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (
            "ALTER TABLE customers_customer ADD COLUMN birthday date",  # of no model, or not yet
            "customers_customer.birthday",
        ),
        (
            "CREATE TABLE newsletter (id integer PRIMARY KEY, address text)",
            "newsletter.id, newsletter.address",
        ),
    ],
)
def test_what_is_not_classed_is_not_copied(shop, change, names):
    before = (shop.folder / "snapshot.sqlite3").read_bytes()
    with closing(sqlite3.connect(shop.folder / "live.sqlite3")) as live, live:
        live.execute(change)
    process = shop("snapshot", live=True)
    assert (process.returncode, process.stderr) == (
        1,
        f"CommandError: Neither PERSONAL nor HARMLESS names {names}. Mask columns with "
        "personal data in PERSONAL, and name the others in HARMLESS.\n",
    )
    assert (shop.folder / "snapshot.sqlite3").read_bytes() == before


def test_a_new_column_of_a_model_is_not_copied_until_it_is_classed(shop):
    with (shop.folder / "customers" / "models.py").open("a") as models:
        models.write("Customer.add_to_class('nickname', models.CharField(max_length=9, null=True))")
    shop.does("makemigrations", "customers", live=True)
    shop.does("migrate", live=True)
    assert "names customers.Customer.nickname. Mask" in shop("snapshot", live=True).stderr
    with (shop.folder / "shop" / "live.py").open("a") as live:
        live.write("PERSONAL['customers.Customer']['nickname'] = None\n")
    assert "name, email, phone, nickname masked" in shop.does("snapshot", live=True)


def test_with_the_settings_of_a_developer(shop):
    process = shop("snapshot")
    assert (process.returncode, process.stderr) == (
        1,
        "CommandError: These settings are for reading the snapshot, not for making it. "
        "Run with production's settings: python manage.py snapshot --settings=...\n",
    )


def test_an_alias_that_there_is_not(shop):
    process = shop("snapshot", "--database=live", live=True)
    assert (process.returncode, process.stderr) == (
        1,
        'CommandError: DATABASES has no "live". Name the alias of production.\n',
    )


@pytest.mark.parametrize("name", ["SNAPSHOT", "PERSONAL", "HARMLESS"])
def test_a_setting_that_is_missing(shop, name):
    with (shop.folder / "shop" / "live.py").open("a") as live:
        live.write(f"del {name}\n")
    process = shop("snapshot", live=True)
    assert process.returncode == 1 and process.stderr.count("\n") == 1
    assert process.stderr.startswith(f"CommandError: In production's settings, write {name} = ")


def test_without_production_nothing_is_made(empty_shop):
    process = empty_shop("snapshot", live=True)
    file = empty_shop.folder / "live.sqlite3"
    assert (process.returncode, process.stderr) == (
        1,
        f"CommandError: {file}: unable to open database file.\n",
    )
    assert not file.exists()


def test_a_table_that_production_does_not_have(empty_shop):
    sqlite3.connect(empty_shop.folder / "live.sqlite3").close()
    (empty_shop.folder / "live.sqlite3").touch()
    process = empty_shop("snapshot", live=True)
    assert process.returncode == 1
    assert "no such table: customers_customer." in process.stderr.splitlines()[-1]
    assert not list(empty_shop.folder.glob("snapshot*"))


def test_where_the_snapshot_can_not_be_written(shop):
    snapshot = shop.folder / "snapshot.sqlite3"
    snapshot.unlink()
    snapshot.mkdir()
    process = shop("snapshot", live=True)
    assert process.returncode == 1
    assert process.stderr == f"CommandError: {snapshot}: Is a directory.\n"
    assert list(shop.folder.glob("snapshot.sqlite3.*")) == []


def test_nothing_personal_is_in_a_file_while_it_is_made(shop):
    """Whatever it is killed by: what it copies has no name in any folder that it may write to."""
    code = (
        "import sqlite3, pathlib, django; django.setup();"
        "from overlay.management.commands.snapshot import Command;"
        "look = lambda self, copy: print('There are:', *pathlib.Path().rglob('*'), sep='\\n');"
        "Command.publish = look;"
        "from django.core.management import call_command; call_command('snapshot')"
    )
    before = {path for path in shop.folder.rglob("*") if "__pycache__" not in str(path)}
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=shop.folder,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "shop.live", "SQLITE_TMPDIR": "."},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    there = {shop.folder / line for line in lines[lines.index("There are:") + 1 :]}
    new = {path.name for path in there - before if "__pycache__" not in str(path)}
    assert new <= {"live.sqlite3-wal", "live.sqlite3-shm"}
