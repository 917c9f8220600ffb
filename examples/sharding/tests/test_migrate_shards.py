"""The command migrate_shards."""

import shutil

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connections

from sharding.buckets import read_map
from sharding.fences.models import HeldBucket

# A second migration of customers. It fails on the shard that is called broken.
SECOND = """
from django.db import migrations, models

def check(apps, schema_editor):
    if schema_editor.connection.alias == "{broken}":
        raise ValueError("A cuckoo has\\nnested here.")

class Migration(migrations.Migration):
    dependencies = [("customers", "0001_initial")]
    operations = [
        migrations.AddField("customer", "phone", models.TextField(default="")),
        migrations.RunPython(check),
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
    file = shop / "shard2.sqlite3"
    file.write_bytes(b"The cuckoo has nested here." * 1000)
    (shop / "shard3.sqlite3").unlink()
    with pytest.raises(CommandError) as error:
        call_command("migrate_shards")
    assert str(error.value) == (
        "1 of 4 shards failed, the others are up to date. When it is mended, run migrate_shards "
        "again. shard2: file is not a database"
    )
    assert len(applied("shard3")) == 2
    connections["shard2"].close()
    file.unlink()
    call_command("migrate_shards")
    assert capsys.readouterr().out == "4 shards are up to date. Migrations applied: 2.\n"


def test_before_default_is_migrated(shop):
    connections.close_all()
    for file in shop.glob("*.sqlite3*"):
        file.unlink()
    with pytest.raises(CommandError, match=r'"default" lacks .* Run: python manage.py migrate$'):
        call_command("migrate_shards")
    assert not tables("shard0")


def test_a_migration_that_fails_on_one_shard(manage, migrated):
    """As it is typed: with its exit status, and one line to say what is wrong."""
    for file in migrated.glob("*.sqlite3"):
        shutil.copy(file, manage.folder)
    second = manage.folder / "customers/migrations/0002_phone.py"
    second.write_text(SECOND.format(broken="shard1"))
    done = manage("migrate_shards")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "CommandError: 1 of 4 shards failed, the others are up to date. When it is mended, run "
        "migrate_shards again. shard1, at customers.0002_phone: A cuckoo has nested here."
    )
    second.write_text(SECOND.format(broken=""))
    done = manage("migrate_shards")
    assert done.stdout == "4 shards are up to date. Migrations applied: 1.\n"
