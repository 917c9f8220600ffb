"""The command migrate_shards."""

import re

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connections

from sharding.buckets import read_map
from sharding.fences.models import HeldBucket
from tests import databases
from tests.databases import ALIASES

# A second migration of customers. It fails on the shard that is called broken.
SECOND = """
from django.db import migrations, models

def check(apps, schema_editor):
    if schema_editor.connection.alias == "{broken}":
        raise ValueError("A cuckoo has\\nnested here.")

class Migration(migrations.Migration):
    dependencies = [("customers", "0001_initial")]
    operations = [
        migrations.RunPython(check),  # before what MariaDB would not roll back
        migrations.AddField("customer", "phone", models.TextField(default="")),
    ]
"""


def tables(alias):
    return {name for name in connections[alias].introspection.table_names()}


def applied(alias):
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT app, name FROM django_migrations ORDER BY id")
        return [f"{app}.{name}" for app, name in cursor.fetchall()]


def test_all_shards_have_the_tables_of_sharded_models_and_note_no_other_migration(shop):
    for alias in settings.SHARDS:
        assert tables(alias) == {
            "django_migrations",
            "customers_customer",
            "customers_order",
            "fences_heldbucket",
            "fences_token",
        }
        assert applied(alias) == ["fences.0001_initial", "customers.0001_initial"]
        held = HeldBucket.objects.using(alias).values_list("number", flat=True)
        assert list(held.order_by("number")) == read_map().buckets(alias)


def test_again(shop, capsys):
    before = [applied(alias) for alias in settings.SHARDS]
    call_command("migrate_shards")
    assert capsys.readouterr().out == "4 shards are up to date. Migrations applied: 0.\n"
    assert [applied(alias) for alias in settings.SHARDS] == before


def test_one_that_is_down_and_then_is_mended(shop, capsys):
    databases.replace("shard3", shop)
    with databases.lost("shard2", shop) as (_, said), pytest.raises(CommandError) as error:
        call_command("migrate_shards")
    assert re.fullmatch(
        "1 of 4 shards failed. The others are up to date. Correct the error, and run "
        f"migrate_shards again. shard2: {said}",
        str(error.value),
    )
    assert len(applied("shard3")) == 2
    databases.replace("shard2", shop)
    call_command("migrate_shards")
    assert capsys.readouterr().out == "4 shards are up to date. Migrations applied: 2.\n"


def test_before_default_is_migrated(shop):
    for alias in ALIASES:
        databases.replace(alias, shop)
    with pytest.raises(CommandError, match=r'"default" lacks .* Run: python manage.py migrate$'):
        call_command("migrate_shards")
    assert not tables("shard0")


def test_a_migration_that_fails_on_one_shard(manage, migrated):
    """As it is typed: with its exit status, and one line to say what is wrong."""
    for alias in ALIASES:
        databases.replace(alias, manage.folder, migrated)
    second = manage.folder / "customers/migrations/0002_phone.py"
    second.write_text(SECOND.format(broken="shard1"))
    done = manage("migrate_shards")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "CommandError: 1 of 4 shards failed. The others are up to date. Correct the error, and "
        "run migrate_shards again. shard1, at customers.0002_phone: A cuckoo has nested here."
    )
    second.write_text(SECOND.format(broken=""))
    done = manage("migrate_shards")
    assert done.stdout == "4 shards are up to date. Migrations applied: 1.\n"
