"""The same project on PostgreSQL with streaming replication: only the settings change."""

import json
import os
import signal

import pytest

from tests.engines import only_sqlite
from tests.servers import PostgreSQL, Unavailable

pytestmark = only_sqlite("these tests start their own servers; run them with shop.settings")

SETTINGS = """
SERVER = {{
    "ENGINE": "django.db.backends.postgresql",
    "NAME": "shop",
    "USER": "postgres",
    "HOST": "{folder}",
}}
DATABASES = {{
    "default": SERVER | {{"PORT": "5501"}},
    "replica1": SERVER | {{"PORT": "5502", "TEST": {{"MIRROR": "default"}}}},
}}
REPLICAS = {{"default": ["replica1"]}}
REPLICA_POSITION = "replicas.positions.PostgresPosition"
INSTALLED_APPS.remove("replication")
"""

SCRIPT = """
import json, logging
from time import monotonic, sleep
from django.db import DatabaseError, connections
from products.models import Product
from replicas import health, reading

logging.getLogger("replicas").setLevel("CRITICAL")
seen = {}

def replay(verb):
    with connections["replica1"].cursor() as cursor:
        cursor.execute(f"SELECT pg_wal_replay_{verb}()")

def wait_for(alias):
    end = monotonic() + 20
    while reading.database() != alias and monotonic() < end:
        sleep(0.02)
    return reading.database()

with reading.scope():
    seen["at first"] = wait_for("replica1")
    try:
        Product.objects.using("replica1").create(name="Egg timer", description="", price=3)
    except DatabaseError as error:
        seen["a write"] = str(error)
replay("pause")
with reading.scope() as scope:
    Product.objects.create(name="Egg timer", description="", price=3)
    sleep(0.3)
    seen["after a write"] = reading.database(), Product.objects.count()
    with reading.allow_stale():
        seen["stale"] = reading.database(), Product.objects.count()
    positions = scope.positions()
sleep(1)
seen["behind"] = health.seconds_behind("replica1")
replay("resume")
with reading.scope(positions):
    seen["caught up"] = wait_for("replica1"), Product.objects.count()
sleep(0.2)
seen["idle"] = health.seconds_behind("replica1")

def error_of(sql):
    '''Return the rows or the error, with a timeout, for a user who may not read auth_user.'''
    own = connections["replica1"].settings_dict
    own["USER"], own["OPTIONS"] = "analyst", {"options": "-c statement_timeout=500"}
    connections["replica1"].close()
    try:
        with connections["replica1"].cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()
    except DatabaseError as error:
        return str(error).splitlines()[0]
    finally:
        own["USER"], own["OPTIONS"] = "postgres", {}
        connections["replica1"].close()

with connections["default"].cursor() as cursor:
    cursor.execute("CREATE ROLE analyst LOGIN")
    cursor.execute("GRANT SELECT ON products_product TO analyst")
    cursor.execute("GRANT USAGE ON products_product_id_seq TO analyst")
sleep(0.5)
seen["errors"] = [
    error_of("SELECT count(*) FROM products_product"),
    error_of("SELECT username FROM auth_user"),
    error_of("SELECT pg_sleep(5)"),
    error_of("SELECT nextval('products_product_id_seq')"),
    error_of("SELECT nonsense"),
]
seen["skipped"] = list(health._retry_at)
with reading.scope():
    reading.CHOICE = 60
    reading.database()
    with connections["replica1"].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    other = connections["replica1"].copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    sleep(0.2)
    seen["killed"] = reading.database(), Product.objects.count()
with reading.scope():
    seen["then"] = reading.database()
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def started():
    try:
        with PostgreSQL() as servers:
            yield servers
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def servers(started):
    """A primary and two standbys that stream from it, with an empty database ``shop``."""
    for statement in (
        "DROP DATABASE IF EXISTS shop WITH (FORCE)",
        "DROP ROLE IF EXISTS plain, analyst",
        "CREATE DATABASE shop OWNER shop",
    ):
        started.sql("primary", statement)
    for name in started.names[1:]:
        started.wait_until_caught_up(name)
    return started


def test_only_the_settings_change(servers, manage):
    with (manage.folder / "shop/settings.py").open("a") as file:
        file.write(SETTINGS.format(folder=servers.folder))
    assert manage("migrate", "--verbosity", "0").returncode == 0
    process = manage("shell", "--verbosity", "0", "-c", SCRIPT)
    assert process.returncode == 0, process.stderr
    seen = json.loads(process.stdout)
    assert 1 <= seen.pop("behind") < 20
    assert 0 < seen.pop("idle") < 20  # since the primary's last message, not since a write
    assert seen == {
        "at first": "replica1",
        "a write": "cannot execute INSERT in a read-only transaction",
        "after a write": ["default", 1],
        "stale": ["replica1", 0],
        "caught up": ["replica1", 1],
        "errors": [
            [[1]],
            "permission denied for table auth_user",
            "canceling statement due to statement timeout",
            "cannot execute nextval() in a read-only transaction",
            'column "nonsense" does not exist',
        ],
        "skipped": [],
        "killed": ["replica1", 1],
        "then": "default",
    }


def test_what_check_asks_the_servers(servers, manage):
    check = ["check", "--database", "default", "--database", "replica1"]
    with (manage.folder / "shop/settings.py").open("a") as file:
        file.write(SETTINGS.format(folder=servers.folder))
        file.flush()
        assert manage(*check).stdout == "System check identified no issues (0 silenced).\n"
        file.write('DATABASES["replica1"] |= {"USER": "plain"}\n')
        file.flush()
        servers.sql("primary", "CREATE ROLE plain LOGIN")
        servers.wait_until_caught_up("standby1")
        stderr = manage(*check).stderr
        assert "(replicas.W011)" in stderr and 'GRANT pg_read_all_stats TO "plain"' in stderr
        file.write('DATABASES["replica1"] |= {"USER": "postgres"}\n')
        # Another address of the primary. The settings cannot show that it is not a standby.
        file.write('DATABASES["replica1"] |= {"PORT": "5501", "HOST": SERVER["HOST"] + "/."}\n')
    process = manage(*check)
    assert process.returncode == 1 and "(replicas.E012)" in process.stderr


SERVICES = """
[primary]
host={folder}
port=5501
[standby]
host={folder}
port=5502
"""

# Each form has entries that differ only in OPTIONS.
BY_OPTIONS = {
    "hosts": """
SERVER |= {"HOST": f"{SERVER['HOST']},{SERVER['HOST']}", "PORT": "5501,5502"}
DATABASES["default"] = SERVER | {"OPTIONS": {"target_session_attrs": "read-write"}}
DATABASES["replica1"] |= SERVER | {"OPTIONS": {"target_session_attrs": "prefer-standby"}}
""",
    "service": """
import os
os.environ["PGSERVICEFILE"] = f"{SERVER['HOST']}/services"
DATABASES["default"] |= {"HOST": "", "PORT": "", "OPTIONS": {"service": "primary"}}
DATABASES["replica1"] |= {"HOST": "", "PORT": "", "OPTIONS": {"service": "standby"}}
""",
}

LAG = """
import logging
from django.db import connections
from products.models import Product
from replicas import reading

logging.getLogger("replicas").setLevel("CRITICAL")
with connections["replica1"].cursor() as cursor:
    cursor.execute("SELECT pg_wal_replay_pause()")
with reading.scope():
    Product.objects.create(name="Egg timer", description="", price=3)
    print(reading.database(), Product.objects.count())
with connections["replica1"].cursor() as cursor:
    cursor.execute("SELECT pg_wal_replay_resume()")
"""

NO_STANDBY = """
from django.db import connections
from products.models import Product
from replicas import health, reading

with reading.scope():
    Product.objects.create(name="Egg timer", description="", price=3)
    print(reading.database(), Product.objects.count(), health.seconds_behind("replica1"))
"""


@pytest.mark.parametrize("form", BY_OPTIONS)
def test_a_standby_is_known_by_what_it_is(servers, manage, form):
    """A replica may have the NAME, HOST and PORT of its primary, and differ only in OPTIONS."""
    (servers.folder / "services").write_text(SERVICES.format(folder=servers.folder))
    with (manage.folder / "shop/settings.py").open("a") as file:
        file.write(SETTINGS.format(folder=servers.folder) + BY_OPTIONS[form])
    assert manage("migrate", "--verbosity", "0").returncode == 0
    check = ["check", "--database", "default", "--database", "replica1"]
    assert manage(*check).stdout == "System check identified no issues (0 silenced).\n"
    process = manage("shell", "--verbosity", "0", "-c", LAG)
    assert process.stdout == "default 1\n", process.stderr
    if form == "hosts":  # without a standby, the driver connects to the primary
        servers.kill("standby1")
        try:
            process = manage("shell", "--verbosity", "0", "-c", NO_STANDBY)
        finally:
            servers.start("standby1")
        assert process.stdout == "replica1 2 0.0\n", process.stderr


BEHIND = """
import logging
from time import sleep
from replicas import health
logging.getLogger("replicas").setLevel("CRITICAL")
print(round(health.seconds_behind("replica1")))
sleep(3)
print(round(health.seconds_behind("replica1")))
"""


def test_a_primary_that_is_not_heard_of(servers, manage):
    """The primary's walsender is stopped. Until wal_receiver_timeout, the connection stays open."""
    with (manage.folder / "shop/settings.py").open("a") as file:
        file.write(SETTINGS.format(folder=servers.folder))
    servers.sql("primary", "CREATE TABLE written AS SELECT 1")
    senders = "SELECT pid FROM pg_stat_replication WHERE application_name = 'standby1'"
    ((sender,),) = servers.sql("primary", senders)
    os.kill(sender, signal.SIGSTOP)
    try:
        process = manage("shell", "--verbosity", "0", "-c", BEHIND)
    finally:
        os.kill(sender, signal.SIGCONT)
    first, then = map(int, process.stdout.split())
    assert then - first == 3, process.stderr


def test_a_user_who_may_not_see_the_receiver(servers, manage):
    """Without pg_read_all_stats, the lag is the time since the last COMMIT that was applied.

    So the lag grows when there are no writes.
    """
    with (manage.folder / "shop/settings.py").open("a") as file:
        file.write(SETTINGS.format(folder=servers.folder))
        file.write('DATABASES["replica1"] |= {"USER": "plain"}\n')
    servers.sql("primary", "CREATE ROLE plain LOGIN")
    servers.wait_until_caught_up("standby1")
    process = manage("shell", "--verbosity", "0", "-c", BEHIND)
    first, then = map(int, process.stdout.split())
    assert 2 <= then - first <= 4 and then < 20, process.stderr


OWN_WRITES = """
from time import sleep
from products.models import Product
from replicas import reading

missed = 0
product = Product.objects.create(name="0", description="", price=3)
while not Product.objects.using("replica1").exists():
    sleep(0.02)
for number in range(100):
    with reading.scope():
        Product.objects.filter(pk=product.pk).update(name=str(number))
        sleep(0.02)
        missed += Product.objects.get(pk=product.pk).name != str(number)
print(missed)
"""


def test_a_commit_that_waits_for_no_disk(servers, manage):
    """With synchronous_commit = off, a COMMIT returns before the log is written."""
    with (manage.folder / "shop/settings.py").open("a") as file:
        file.write(SETTINGS.format(folder=servers.folder))
        file.write('DATABASES["default"]["OPTIONS"] = {"options": "-c synchronous_commit=off"}\n')
    assert manage("migrate", "--verbosity", "0").returncode == 0
    servers.wait_until_caught_up("standby1")
    process = manage("shell", "--verbosity", "0", "-c", OWN_WRITES)
    assert process.stdout == "0\n", process.stderr


DIES = """
import logging
from django.db import OperationalError, connections
from products.models import Product
from replicas import reading

logging.getLogger("replicas").setLevel("CRITICAL")
Product.objects.bulk_create(Product(name=str(n), description="", price=3) for n in range(9))
while Product.objects.using("replica1").count() < 9:
    pass
reading.CHOICE = 60  # the choice stays valid as long as its connection is open
with reading.scope() as scope:
    seen = []
    try:
        for product in Product.objects.order_by("pk").iterator(chunk_size=2):
            seen.append((product.name, product._state.db))
            if len(seen) == 3:
                other = connections["replica1"].copy()
                with other.cursor() as cursor:
                    cursor.execute(
                        "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity "
                        "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                    )
    except OperationalError as error:
        print(len(seen), seen[-1])
    print(Product.objects.count(), reading.database())
"""


def test_an_iterator_whose_replica_dies(servers, manage):
    """The iterator has already returned some rows, so the caller gets the error, and no row twice.

    The next query goes to the replica on a new connection.
    """
    with (manage.folder / "shop/settings.py").open("a") as file:
        file.write(SETTINGS.format(folder=servers.folder))
    assert manage("migrate", "--verbosity", "0").returncode == 0
    process = manage("shell", "--verbosity", "0", "-c", DIES)
    assert process.stdout.splitlines() == ["4 ('3', 'replica1')", "9 replica1"], process.stderr
