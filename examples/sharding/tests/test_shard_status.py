"""The command shard_status."""

import re

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, models

from customers.models import Customer
from sharding import buckets
from sharding.buckets import read_map
from sharding.fences.models import HeldBucket
from sharding.keys import BUCKETS, new_key
from sharding.management.commands import shard_status
from sharding.reshard import change_map, reshard
from tests import databases


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


def put(row, alias):
    """Insert a row where the fence would not let it be."""
    models.QuerySet(type(row), using=alias).bulk_create([row])


def test_rows_of_a_move_that_was_killed_are_counted_once(table, monkeypatch):
    customer = Customer.objects.create(id=new_key(5))
    put(customer, "shard2")
    change_map([4, 5, 6, 9], placement=True, uncounted_on="shard2")
    header, zero, _, two, _, moving = table()
    assert (zero[2], two[2]) == ("1", "0")
    assert moving == [
        "Moving, with uncounted rows on shard2: 4-6,9. If no reshard is running, run it again."
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
    assert rows[2][4] == "has customers.0002_phone, not in the code"
    assert rows[3] == ["shard2", "256", "lacks customers.0001_initial"]


def test_a_shard_that_is_down(table, shop):
    with databases.lost("shard1", shop) as (name, said):
        alias, number, state = table()[2]
    assert (alias, number) == ("shard1", "256")
    assert re.fullmatch(rf'Database "shard1" \({name}\): {said}', state)


def test_before_default_is_migrated(shop):
    databases.replace("default", shop)
    buckets.forget_map()
    with pytest.raises(CommandError, match=r'"default" lacks .* Run: python manage.py migrate$'):
        call_command("shard_status")


@pytest.fixture
def strays(table):
    """Return the lines below the table."""
    return lambda: [" ".join(line) for line in table()[5:]]


def test_rows_that_another_program_put_on_another_shard(strays):
    customer = Customer.objects.create(id=new_key(0))
    order = customer.orders.create(product_id=1, price=1)
    put(customer, "shard1")
    put(order, "shard1")
    assert strays() == [
        "shard1 has 1 customers and 1 orders of buckets that the map gives to another shard."
    ]


def test_a_shard_from_a_backup_that_had_other_buckets(strays, shop):
    customer = Customer.objects.create(id=new_key(5))
    with databases.restored("shard0", shop):
        reshard([4, 5, 6], "shard1")
        reshard([300], "shard0")
    assert strays() == [
        "shard0 has 1 customers of buckets that the map gives to another shard.",
        "shard0 takes writes for buckets that the map gives to another shard: 4-6.",
        "shard0 takes no writes for buckets that the map gives to it: 300.",
    ]
    # The page says how to mend it.
    HeldBucket.objects.using("shard0").filter(number__in=[4, 5, 6]).delete()
    models.QuerySet(Customer, using="shard0").filter(pk=customer.pk)._raw_delete("shard0")
    HeldBucket.objects.using("shard0").create(number=300)
    assert strays() == []


def test_a_move_under_way_is_no_fault(strays, monkeypatch):
    """Nor one that begins after the map was read."""
    customer = Customer.objects.create(id=new_key(5))
    begin = shard_status.HeldBucket.objects.using

    def begun(alias):
        if not read_map().moving:
            change_map([5], placement=True, uncounted_on="shard2")
            put(customer, "shard2")
            begin("shard0").filter(number=5).delete()
        return begin(alias)

    monkeypatch.setattr(shard_status.HeldBucket.objects, "using", begun)
    assert strays() == []  # the map was read before for the table, too
    assert "Moving, with uncounted rows on shard2" in strays()[0]
    assert len(strays()) == 1
