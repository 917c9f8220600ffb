"""The command shard_status."""

import re

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from customers.models import Customer
from sharding import buckets
from sharding.keys import BUCKETS, new_key
from sharding.reshard import change_map


@pytest.fixture
def table(shop, capsys):
    """Return the lines that the command prints, each as a list of its columns."""

    def run():
        capsys.readouterr()
        call_command("shard_status")
        lines = capsys.readouterr().out.splitlines()
        return [re.split(r"  +", line) for line in lines]

    return run


def test_buckets_and_rows(table):
    for number in [0, 0, 0, 256]:
        Customer.objects.create(id=new_key(number)).orders.create(product_id=1, price=1)
    Customer.objects.create(id=new_key(BUCKETS - 1))
    assert table() == [
        ["shard", "buckets", "customers", "orders", "migrations"],
        ["shard0", "256", "3", "3", "all"],
        ["shard1", "256", "1", "1", "all"],
        ["shard2", "256", "0", "0", "all"],
        ["shard3", "256", "1", "0", "all"],
    ]


def test_rows_of_a_move_that_was_killed_are_counted_once(table, monkeypatch):
    customer = Customer.objects.create(id=new_key(5))
    super(Customer, customer).save_base(using="shard2", raw=True, force_insert=True)
    change_map([4, 5, 6, 9], placement=True, uncounted_on="shard2")
    header, zero, _, two, _, moving = table()
    assert (zero[2], two[2]) == ("1", "0")
    assert moving == [
        "Moving, with rows on shard2 that don't count: 4-6,9. If no reshard is running, run it "
        "again."
    ]


def test_migrations_that_differ(table):
    with connections["shard1"].cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES "
            "('customers', '0002_phone', '2026-01-01'), ('auth', '0001_x', '2026-01-01')"
        )
    with connections["shard2"].cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'customers'")
    rows = table()
    assert rows[1][4] == "all"
    assert rows[2][4] == "has customers.0002_phone, unknown here"
    assert rows[3] == ["shard2", "256", "lacks customers.0001_initial"]


def test_a_shard_that_is_down(table, shop):
    connections.close_all()
    file = shop / "shard1.sqlite3"
    file.write_bytes(b"The cuckoo has nested here." * 1000)
    assert table()[2] == ["shard1", "256", f'Database "shard1" ({file}): file is not a database']


def test_before_default_is_migrated(shop):
    connections.close_all()
    (shop / "default.sqlite3").unlink()
    buckets.forget_map()
    with pytest.raises(CommandError, match=r'"default" lacks .* Run: python manage.py migrate$'):
        call_command("shard_status")
