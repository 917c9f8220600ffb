"""takeover, on four servers: our own shards on the servers of the nodes, and the coordinator."""

import os
import re
import shutil
from pathlib import Path

import pytest
from django.conf import settings

from tests.conftest import needs_servers
from tests.loads import under_load
from tests.processes import python

SHARDS = ["shard0", "shard1", "shard2", "shard3"]
# Before: our own shards, and a database for all other tables, as in the example "sharding".
BEFORE = """
from tests.{engine} import *  # noqa: F403
from tests.{engine} import DATABASES, NODES

SHARDS = ["shard0", "shard1", "shard2", "shard3"]
COORDINATOR = "cluster"
DATABASES["cluster"] = DATABASES["default"]
DATABASES["default"] = DATABASES["cluster"] | {{
    "ENGINE": DATABASES["node0"]["ENGINE"],
    "NAME": "shop_main",
}}
DATABASES |= {{
    alias: DATABASES[NODES[number % 3]] | {{"NAME": f"shop_{{alias}}"}}
    for number, alias in enumerate(SHARDS)
}}
DATABASE_ROUTERS = ["distributed.routers.NodeRouter", "sharding.routers.ShardRouter"]
"""
DURING = """
from tests.before import *  # noqa: F403
from tests.before import SHARDS

SHARDS = [*SHARDS, "cluster"]
"""
# At the end: plain Django, with two databases.
AFTER = """
from tests.before import *  # noqa: F403

SHARDS = []
DATABASE_ROUTERS = ["distributed.routers.NodeRouter", "tests.after.CustomersRouter"]


class CustomersRouter:
    def db_for_read(self, model, **hints):
        return "cluster" if model._meta.app_label == "customers" else "default"

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints):
        return db == ("cluster" if app_label == "customers" else "default")
"""
LONG = "STRESS" in os.environ

pytestmark = needs_servers


@pytest.fixture
def manage(servers, tmp_path):
    """Run ``manage.py`` with one of the settings above, in a copy of the project."""
    folder = tmp_path / "distributed"
    ignore = shutil.ignore_patterns("*.sqlite3*", "__pycache__", ".*", "servers")
    shutil.copytree(settings.BASE_DIR, folder, ignore=ignore)
    engine = settings.SETTINGS_MODULE.removeprefix("tests.")
    (folder / "tests/before.py").write_text(BEFORE.format(engine=engine))
    (folder / "tests/during.py").write_text(DURING)
    (folder / "tests/after.py").write_text(AFTER)
    servers.empty()
    own = [("default", "shop_main")]
    own += [(f"node{number % 3}", f"shop_{alias}") for number, alias in enumerate(SHARDS)]
    owner = "CHARACTER SET utf8mb4" if engine == "mariadb" else "OWNER shop"
    for server, name in own:
        servers.sql(server, f"CREATE DATABASE {name} {owner}")

    def run(which, *arguments):
        environment = os.environ | {"DJANGO_SETTINGS_MODULE": f"tests.{which}"}
        done = python.run("manage.py", *arguments, cwd=folder, env=environment)
        return done.stdout if done.returncode == 0 else done.stderr.strip()

    run.folder = folder
    yield run
    for server, name in own:
        force = "" if engine == "mariadb" else " WITH (FORCE)"
        servers.sql(server, f"DROP DATABASE {name}{force}")


def migrate(manage):
    """Migrate our own shards first, as they were, and then the nodes and the coordinator."""
    manage("before", "migrate", "--verbosity=0")
    assert manage("before", "migrate_shards").startswith("4 shards are up to date.")
    for node in settings.NODES:
        assert manage("during", "migrate", "customers", f"--database={node}", "--verbosity=0") == ""
    assert manage("during", "migrate_shards").startswith("5 shards are up to date.")


def test_killed_under_load(manage):
    """At 100 random points (``STRESS=1``; else at 4), by ``kill -9``, while others write and read.

    Each row is there once, what was acknowledged is kept, and at no time did a reader, or a writer
    who looks for what they wrote, see a row missing, or twice, or old.
    """
    migrate(manage)
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.during",
        "KILLS": "100" if LONG else "4",
    }
    script = Path(__file__).with_name("load_takeover.py")
    print(under_load("take_over", manage.folder, environment, script))


def test_all_rows_go_there_and_back(manage):
    """All 1024 buckets with ``STRESS=1``; else those that have rows."""
    migrate(manage)
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.before"}
    load = str(Path(__file__).with_name("load.py"))
    assert python.run(load, "prepare", "0", cwd=manage.folder, env=environment).returncode == 0
    only = [] if LONG else ["--buckets=0,1,255,300,511,512,700,1023"]
    buckets = 1024 if LONG else 8
    some = manage("during", "takeover", "--buckets=0,1023")
    assert re.match(r"Buckets moved: 2, with 120 rows, in .* Already there: 0\.$", some)
    rest = manage("during", "takeover", *only)
    wanted = rf"Buckets moved: {buckets - 2}, with 360 rows, in .* Already there: 2\.$"
    assert re.match(wanted, rest)
    count = "from customers.models import Customer; print(Customer.objects.count())"
    assert manage("after", "shell", "--verbosity=0", "--command", count) == "160\n"
    assert manage("after", "check", "--database=cluster").startswith("System check identified no")
    back = manage("during", "takeover", "--back", *only)
    assert back.startswith(f"Buckets moved: {buckets}, with 480 rows, in ")
    status = manage("before", "shard_status").splitlines()
    assert [line.split()[:2] for line in status[1:]] == [[alias, "256"] for alias in SHARDS]
    assert sum(int(line.split()[2]) for line in status[1:]) == 160


def test_what_takeover_refuses(manage):
    assert manage("before", "takeover") == (
        'CommandError: The coordinator, "cluster", must be one of SHARDS until all rows are moved: '
        "add it at the end."
    )
    manage("before", "migrate", "--verbosity=0")
    manage("before", "migrate_shards")
    assert manage("during", "takeover").startswith(
        'CommandError: Database "cluster" lacks migrations: fences.0001_initial, customers.0001_in'
    )
