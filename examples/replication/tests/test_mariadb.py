"""The same project on MariaDB with GTID replication: only the settings change."""

import json

import pytest
from django.db import NotSupportedError

from replicas import positions
from replicas.positions import MariaDBPosition
from tests.engines import only_sqlite
from tests.servers import MariaDB, Unavailable

pytestmark = only_sqlite("these tests start their own servers; run them with shop.settings")

SETTINGS = """
SERVER = {{
    "ENGINE": "django.db.backends.mysql",
    "NAME": "shop",
    "USER": "shop",
    "PASSWORD": "pendulum",
}}
DATABASES = {{
    "default": SERVER | {{"HOST": "{folder}/primary.sock"}},
    "replica1": SERVER | {{"HOST": "{folder}/replica.sock", "TEST": {{"MIRROR": "default"}}}},
}}
REPLICAS = {{"default": ["replica1"]}}
REPLICA_POSITION = "replicas.positions.MariaDBPosition"
INSTALLED_APPS.remove("replication")
"""

# ``replica()`` executes SQL on the replica as its administrator, who may stop the SQL thread.
HELPERS = """
import json, logging, os, signal
from time import monotonic, sleep
import MySQLdb
from django.conf import settings
from django.db import DatabaseError, connections
from products.models import Product
from replicas import health, reading

logging.getLogger("replicas").setLevel("CRITICAL")

def replica(sql):
    server = MySQLdb.connect(unix_socket=settings.DATABASES["replica1"]["HOST"])
    cursor = server.cursor(MySQLdb.cursors.DictCursor)
    cursor.execute(sql)
    row = cursor.fetchone()
    server.close()
    return row

def wait_for(alias):
    end = monotonic() + 20
    while reading.database() != alias and monotonic() < end:
        sleep(0.02)
    return reading.database()
"""

SCRIPT = (
    HELPERS
    + """
settings.REPLICA_RETRY = 1
seen = {}
with reading.scope():
    seen["at first"] = wait_for("replica1")
    try:
        Product.objects.using("replica1").create(name="Egg timer", description="", price=3)
    except DatabaseError as error:
        seen["a write"] = error.args[0]
replica("STOP SLAVE SQL_THREAD")
with reading.scope() as scope:
    Product.objects.create(name="Egg timer", description="", price=3)
    sleep(0.3)
    seen["after a write"] = reading.database(), Product.objects.count()
    with reading.allow_stale():
        seen["stale"] = reading.database(), Product.objects.count()
    positions = scope.positions()
sleep(1)
seen["behind"] = health.seconds_behind("replica1")
replica("START SLAVE SQL_THREAD")
with reading.scope(positions):
    seen["caught up"] = wait_for("replica1"), Product.objects.count()
sleep(1)
seen["idle"] = health.seconds_behind("replica1")

def error_of(sql):
    try:
        with connections["replica1"].cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()
    except DatabaseError as error:
        return error.args[0]

seen["errors"] = [
    error_of("SELECT count(*) FROM products_product"),
    error_of("SELECT user FROM mysql.user"),
    error_of("SELECT SLEEP(5), count(*) FROM auth_permission, products_product FOR UPDATE"),
    error_of("SET STATEMENT max_statement_time = 0.3 FOR SELECT count(*) FROM auth_permission a, "
        "auth_permission b, auth_permission c, auth_permission d, auth_permission e"),
    error_of("SELECT nonsense"),
]
seen["skipped"] = list(health._retry_at)
with reading.scope():
    reading.CHOICE = 60
    reading.database()
    with connections["replica1"].cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        (pid,) = cursor.fetchone()
    replica(f"KILL {pid}")
    sleep(0.2)
    seen["killed"] = reading.database(), Product.objects.count()
with reading.scope():
    seen["then"] = reading.database()
print(json.dumps(seen))
"""
)


@pytest.fixture(scope="module")
def started():
    try:
        with MariaDB() as servers:
            yield servers
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def servers(started):
    """A primary and a replica that follows it, with an empty database ``shop``."""
    started.sql("primary", "DROP DATABASE IF EXISTS shop")
    started.sql("primary", "CREATE DATABASE shop CHARACTER SET utf8mb4")
    started.wait_until_caught_up("replica")
    return started


@pytest.fixture
def on_mariadb(servers, manage):
    """Return ``manage`` for a copy of the project whose databases are on these servers."""
    settings = manage.folder / "shop/settings.py"
    with settings.open("a") as file:
        file.write(SETTINGS.format(folder=servers.folder))
    manage.settings = settings
    return manage


def shell(manage, script):
    process = manage("shell", "--verbosity", "0", "-c", script)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_only_the_settings_change(on_mariadb):
    assert on_mariadb("migrate", "--verbosity", "0").returncode == 0
    seen = json.loads(shell(on_mariadb, SCRIPT))
    assert 1 <= seen.pop("behind") < 20
    assert 0 < seen.pop("idle") < 2  # there is a new sample each second
    assert seen == {
        "at first": "replica1",
        "a write": 1290,
        "after a write": ["default", 1],
        "stale": ["replica1", 0],
        "caught up": ["replica1", 1],
        "errors": [[[1]], 1142, 1290, 1969, 1054],
        "skipped": [],
        "killed": ["replica1", 1],
        "then": "default",
    }


CHECK = ["check", "--database", "default", "--database", "replica1"]


def test_what_check_asks_the_servers(servers, on_mariadb):
    assert on_mariadb(*CHECK).stdout == "System check identified no issues (0 silenced).\n"
    right = on_mariadb.settings.read_text()
    on_mariadb.settings.write_text(
        right + 'DATABASES["replica1"] |= {"USER": "", "PASSWORD": ""}\n'
    )
    assert "(replicas.W017)" in on_mariadb(*CHECK).stderr
    # Another address of the primary. The settings cannot show that this server is not a replica.
    other = f'DATABASES["replica1"]["HOST"] = "{servers.folder}/./primary.sock"\n'
    on_mariadb.settings.write_text(right + other)
    process = on_mariadb(*CHECK)
    assert process.returncode == 1 and "(replicas.E012)" in process.stderr
    assert "its server is not read_only" in process.stderr
    servers.sql("replica", "STOP SLAVE")
    ((position,),) = servers.sql("replica", "SELECT @@gtid_slave_pos")
    try:
        servers.sql("replica", "SET GLOBAL gtid_slave_pos = ''")
        on_mariadb.settings.write_text(right)
        assert "has applied nothing by GTID" in on_mariadb(*CHECK).stderr
    finally:
        servers.sql("replica", f"SET GLOBAL gtid_slave_pos = '{position}'")
        servers.sql("replica", "START SLAVE")


FROZEN = (
    HELPERS
    + """
from replicas.positions import MariaDBPosition
MariaDBPosition.EACH = 0
behind = lambda: (
    replica("SHOW SLAVE STATUS")["Seconds_Behind_Master"],
    round(health.seconds_behind("replica1")),
)
print(*behind())
os.kill(PID, signal.SIGSTOP)
try:
    settings.REPLICA_RETRY = 2
    start = monotonic()
    health.seconds_behind("replica1")
    print(monotonic() - start < 2)
    sleep(3 - (monotonic() - start))
    start = monotonic()
    print(*behind())
    settings.REPLICA_MAX_LAG = 2
    health.seconds_behind("replica1")
    print(health.seconds_behind("replica1"))
finally:
    os.kill(PID, signal.SIGCONT)
"""
)


def test_a_primary_that_is_not_heard_of(servers, on_mariadb):
    """``Seconds_Behind_Master`` is 0 until the replica notices that the primary does not answer."""
    printed = shell(on_mariadb, FROZEN.replace("PID", str(servers.pid("primary"))))
    first, in_time, then, at_last = printed.splitlines()
    assert (first, in_time, at_last) == ("0 0", "True", "None")
    by_the_server, by_us = map(int, then.split())
    assert by_the_server == 0 and 3 <= by_us <= 6


def test_one_server_by_two_names(servers, on_mariadb):
    """For example after a promotion. Then the lag is 0, whatever the server applied earlier."""
    with on_mariadb.settings.open("a") as file:
        file.write(f'DATABASES["replica1"]["HOST"] = "{servers.folder}/./primary.sock"\n')
    assert on_mariadb("migrate", "--verbosity", "0").returncode == 0
    script = """
    with reading.scope():
        Product.objects.create(name="Egg timer", description="", price=3)
        print(reading.database(), Product.objects.count(), health.seconds_behind("replica1"))
"""
    script = HELPERS + "if True:" + script
    assert shell(on_mariadb, script) == "replica1 1 0.0\n"


OWN_WRITES = (
    HELPERS
    + """
missed = 0
product = Product.objects.create(name="0", description="", price=3)
with reading.scope():
    wait_for("replica1")
read = set()
for number in range(100):
    with reading.scope():
        Product.objects.filter(pk=product.pk).update(name=str(number))
        # The position belongs to the server, so a new connection has it too.
        connections["default"].close()
        got = Product.objects.get(pk=product.pk)
        missed += got.name != str(number)
    with reading.scope():
        read.add(Product.objects.get(pk=product.pk)._state.db)
print(missed, "replica1" in read)
"""
)


def test_own_writes(on_mariadb):
    assert on_mariadb("migrate", "--verbosity", "0").returncode == 0
    assert shell(on_mariadb, OWN_WRITES) == "0 True\n"


@pytest.mark.parametrize(
    ("applied", "position", "reached"),
    [
        ("0-1-42", "0-1-42", True),
        ("0-1-43", "0-2-42", True),  # after a promotion, from another server
        ("0-1-9", "0-1-10", False),
        ("", "0-1-1", False),
        ("0-1-42_1-1-7", "1-1-7", True),
        ("0-1-42", "0-1-1_1-1-7", False),
    ],
)
def test_positions_are_compared_by_domain(applied, position, reached):
    assert positions._has_reached(applied, position) is reached


@pytest.mark.parametrize("answer", [("", 1), ("0-1-42", 0)])
def test_a_write_that_is_not_logged_has_no_position(monkeypatch, answer):
    monkeypatch.setattr(positions, "ask", lambda connection, sql: answer)
    with pytest.raises(NotSupportedError, match="binary log"):
        MariaDBPosition().written(None)


def test_a_position_fits_a_cookie_and_a_header(monkeypatch):
    monkeypatch.setattr(positions, "ask", lambda connection, sql: ("0-1-42,1-1-7", 1))
    assert MariaDBPosition().written(None) == "0-1-42_1-1-7"
