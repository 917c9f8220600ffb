"""Reference tables, in a copy of the project with two more apps."""

import shutil
from pathlib import Path

import pytest
from django.conf import settings

from tests import databases

REGIONS = """
from django.db import models

from sharding.reference.models import Reference


class Zone(Reference):
    name = models.CharField(max_length=50, unique=True)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    changed = models.DateTimeField(auto_now=True)
"""
DELIVERIES = """
from django.db import models

from customers.models import Customer
from regions.models import Zone
from sharding.fields import KeyField
from sharding.models import Sharded


class Delivery(Sharded):
    id = KeyField(of="customer")
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="deliveries")
    zone = models.ForeignKey(Zone, models.DO_NOTHING, related_name="+")

    class Meta:
        verbose_name_plural = "deliveries"
"""
SETTINGS = """
INSTALLED_APPS += ["regions", "deliveries", "sharding.reference"]
SHARDED_APPS |= {"deliveries"}
REFERENCE_APPS = {"regions"}
"""
# A data migration of zones, as anyone would write it.
ZONES = """
from django.db import migrations

def fill(apps, schema_editor):
    apps.get_model("regions", "Zone").objects.create(name="islands", price=9)

class Migration(migrations.Migration):
    dependencies = [("regions", "0001_initial")]
    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
"""
LOOK = """
from django.conf import settings
from regions.models import Zone
for alias in ["default", *settings.SHARDS]:
    print(alias, *(zone.name for zone in Zone.objects.using(alias).order_by("pk")))
"""


def shell(manage, script):
    done = manage("shell", "--verbosity=0", "--command", script)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def project(manage):
    for app, models in (("regions", REGIONS), ("deliveries", DELIVERIES)):
        (manage.folder / app / "migrations").mkdir(parents=True)
        (manage.folder / app / "__init__.py").touch()
        (manage.folder / app / "migrations" / "__init__.py").touch()
        (manage.folder / app / "models.py").write_text(models)
    with (manage.folder / "shop" / "settings.py").open("a") as file:
        file.write(SETTINGS)
    done = manage("makemigrations", "regions", "deliveries")
    assert done.returncode == 0, done.stderr
    return manage


def migrate(project):
    for command in ("migrate", "migrate_shards"):
        done = project(command)
        assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_cases(project):
    shutil.copy(
        Path(__file__).with_name("reference_cases.py"), project.folder / "deliveries" / "tests.py"
    )
    done = project("test", "deliveries")
    assert done.returncode == 0, done.stderr
    assert "\nOK\n" in done.stderr


def test_migrate_shards_copies_the_rows_of_a_data_migration(project):
    (project.folder / "regions" / "migrations" / "0002_zones.py").write_text(ZONES)
    assert "Rows corrected: 0.\n" in migrate(project)  # after a migration they are copied at once
    aliases = databases.ALIASES
    assert shell(project, LOOK) == [f"{alias} islands" for alias in aliases]
    assert project("makemigrations", "--check", "--dry-run").returncode == 0
    done = project("check", *(f"--database={alias}" for alias in aliases))
    assert "no issues" in done.stdout, done.stderr


def test_a_column_is_added(project):
    migrate(project)
    shell(project, "from regions.models import Zone; Zone.objects.create(name='one', price=1)")
    with (project.folder / "regions" / "models.py").open("a") as file:
        file.write("    days = models.IntegerField(default=3)\n")
    assert project("makemigrations", "regions", "--name", "days").returncode == 0
    assert project("migrate").returncode == 0
    # Until migrate_shards, a write is not copied. Then it is.
    shell(project, "from regions.models import Zone; Zone.objects.update(days=5)")
    done = project("migrate_shards")
    assert "Rows corrected: 0." in done.stdout
    assert "behind" not in done.stderr
    days = shell(project, LOOK.replace("zone.name for", "zone.days for"))
    assert days == [f"{alias} 5" for alias in databases.ALIASES]


def test_two_writers_at_once(project):
    migrate(project)
    shell(
        project,
        """
from threading import Thread
from django.db import connections
from regions.models import Zone
def write(name):
    for number in range(15):
        Zone.objects.create(name=f"{name}{number}", price=number)
        Zone.objects.filter(name=f"{name}{number - 1}").update(price=1)
    connections.close_all()
threads = [Thread(target=write, args=[name]) for name in "abc"]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
""",
    )
    assert len({line.split(" ", 1)[1] for line in shell(project, LOOK)}) == 1
    assert "Rows corrected: 0." in project("sync_reference").stdout
    assert len(shell(project, LOOK)[0].split()) == 46


def test_a_slow_copy_does_not_write_older_rows_over_newer(project):
    migrate(project)
    shell(
        project,
        """
import time
from threading import Event, Thread
from django.db import connections
from regions.models import Zone
from sharding.reference import models
read, was_read = models.read, Event()
def slow_read():
    found = read()
    if not was_read.is_set():
        was_read.set()
        time.sleep(1)
    return found
models.read = slow_read
def write():
    Zone.objects.create(name="one", price=1)
    connections.close_all()
thread = Thread(target=write)
thread.start()
was_read.wait()
Zone.objects.create(name="two", price=2)
thread.join()
""",
    )
    assert shell(project, LOOK) == [f"{alias} one two" for alias in databases.ALIASES]


def test_a_process_that_is_killed_before_it_has_copied(project):
    migrate(project)
    done = project(
        "shell",
        "--verbosity=0",
        "--command",
        """
import os
from regions.models import Zone
from sharding.reference import models
models.copy_to_all = lambda number: os._exit(9)
Zone.objects.create(name="one", price=1)
""",
    )
    assert done.returncode == 9
    assert shell(project, LOOK) == ["default one", *settings.SHARDS]
    assert "shard3 has older reference tables" in project("shard_status").stdout
    shell(project, "from regions.models import Zone; Zone.objects.create(name='two', price=2)")
    assert shell(project, LOOK) == [f"{alias} one two" for alias in databases.ALIASES]
    assert "older" not in project("shard_status").stdout


def test_without_shards(project):
    with (project.folder / "shop" / "settings.py").open("a") as file:
        file.write("SHARDS = []\n")
    assert project("migrate", "--verbosity=0").returncode == 0
    assert shell(
        project,
        """
from customers.models import Customer
from deliveries.models import Delivery
from django.db import connection
from django.test.utils import CaptureQueriesContext
from regions.models import Zone
with CaptureQueriesContext(connection) as queries:
    zone = Zone.objects.create(name="islands", price=9)
    Zone.objects.update(price=8)
print(len(queries))
ada = Customer.objects.create(name="Ada", email="ada@clocks.example")
Delivery.objects.create(customer=ada, zone=zone)
print(Delivery.objects.filter(zone__price=8).count())
""",
    ) == ["2", "1"]
    assert "There are no shards" in project("sync_reference").stdout


CHANGES = {
    "E021": ("shop/settings.py", '{"regions"}', '{"regions", "cuckoos"}'),
    "E022": ("regions/models.py", "Zone(Reference)", "Zone(models.Model)"),
    "E023": (
        "regions/models.py",
        "    price =",
        '    product = models.ForeignKey("products.Product", models.CASCADE)\n    price =',
    ),
    "E024": ("deliveries/models.py", "models.DO_NOTHING", "models.PROTECT"),
    "E024 ": ("deliveries/models.py", 'related_name="+"', 'related_name="deliveries"'),
    "E027": (
        "sharding/routers.py",
        "[DEFAULT_DB_ALIAS, *settings.SHARDS]",
        "[DEFAULT_DB_ALIAS]",
    ),
    "E026": ("shop/settings.py", ', "sharding.reference"]', "]"),
}


@pytest.mark.parametrize(("error", "change"), CHANGES.items(), ids=CHANGES)
def test_checks(project, error, change):
    name, old, new = change
    path = project.folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    done = project("check")
    assert done.returncode == 1
    assert f"sharding.{error.strip()}" in done.stderr


def test_a_large_table_is_a_warning(project):
    migrate(project)
    shell(
        project,
        """
from regions.models import Zone
Zone.objects.bulk_create(Zone(name=str(n), price=1) for n in range(10_001))
""",
    )
    done = project("check", "--database=default")
    assert "W025) regions.Zone has 10,001 rows" in done.stderr
    assert len(set(shell(project, LOOK.replace("zone.name for", "zone.pk for")))) == 5
    assert settings.SHARDS == ["shard0", "shard1", "shard2", "shard3"]
