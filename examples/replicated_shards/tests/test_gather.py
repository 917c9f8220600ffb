"""Scatter-gather queries a suitable replica of each shard, or the primary."""

import threading

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connections, transaction
from django.db.models import Sum

from conftest import customer_on
from customers.models import Customer, Order
from replicas import reading
from sharding import gather, scatter

CUSTOMERS = Customer.objects.all()


def asked():
    """Return which databases a gather queries in the current scope."""
    return list(gather.each(CUSTOMERS, lambda rows: rows.db).values())


@pytest.fixture
def customers(ada, ben):
    return [ada, ben]


def test_replicas_are_asked(customers):
    seen = set()
    for _ in range(20):
        with reading.scope():
            seen.update(asked())
            assert gather.count(CUSTOMERS) == 2
    assert seen == {alias for aliases in settings.REPLICAS.values() for alias in aliases}
    assert asked() == ["shard0", "shard1"]  # outside any scope


def test_who_wrote_to_a_shard_asks_what_has_the_write(customers, shop):
    with reading.scope() as scope:
        customer_on("shard1", "Eve")
        zero, one = asked()
        assert zero in settings.REPLICAS["shard0"] and one == "shard1"
        assert [c.name for c in gather.top(CUSTOMERS.order_by("-joined"))][:1] == ["Eve"]
        position = scope["shard1"].position()
    with reading.scope():
        assert gather.count(CUSTOMERS) == 2  # another reader, who reads old rows
    shop.replicate("shard1_replica1")
    with reading.scope({"shard1": position}):
        assert asked()[1] == "shard1_replica1"
        assert gather.count(CUSTOMERS) == 3


def test_a_paused_replica_is_passed_over(customers, shop):
    """Only one of the two replicas is up to date."""
    shop.let_lag("shard0_replica2", settings.REPLICA_MAX_LAG + 1)
    for _ in range(10):
        with reading.scope():
            assert asked()[0] == "shard0_replica1"


def test_all_functions(customers, shop):
    for customer, quantity in zip(customers, (2, 3), strict=True):
        customer.orders.create(product_id=1, price=1, quantity=quantity)
    shop.replicate()
    with reading.scope():
        total = gather.aggregate(Order.objects.all(), total=Sum("quantity"))
        assert total == {"total": 5}
        keys = [customer.pk for customer in customers]
        found = Customer.objects.in_bulk(keys)
        assert found.keys() == set(keys)
        assert {row._state.db for row in found.values()} <= set(connections) - set(settings.SHARDS)
        assert len(gather.AllRows(CUSTOMERS.order_by("joined"))[0:1]) == 1


def test_where_a_replica_fails_its_primary_is_asked(customers, monkeypatch):
    def count(rows):
        if rows.db.startswith("shard1_"):
            raise OperationalError("connection refused")
        return rows.db, rows.count()

    with reading.scope():
        answers = gather.each(CUSTOMERS, count)
    assert answers["shard1"] == ("shard1", 1)
    assert answers["shard0"][0] != "shard0"


def test_a_shard_without_any_database(customers, shop, staff, product):
    with shop.lost("shard1", *settings.REPLICAS["shard1"]), reading.scope():
        with pytest.raises(gather.ShardDown, match="^shard1 is unavailable: "):
            gather.count(CUSTOMERS)
        assert gather.count(CUSTOMERS, partial=True).value == 1


@pytest.fixture
def threads(customers, monkeypatch):
    monkeypatch.setattr(scatter, "_threads", {})
    # So gather uses threads, as it does with each engine except SQLite.
    monkeypatch.setattr(type(connections["shard0"]), "vendor", "a server")
    yield
    for pool in scatter._threads.values():
        pool.submit(connections.close_all).result()
        pool.shutdown()


def test_in_threads_as_on_servers(threads):
    """The reader chooses the database. The query runs in a thread of this database."""
    with reading.scope():
        chosen = asked()
        names = gather.each(CUSTOMERS, lambda rows: threading.current_thread().name)
        assert list(names.values()) == [f"gather {alias}_0" for alias in chosen]
        customer_on("shard0", "Eve")
        assert asked() == ["shard0", chosen[1]]
        assert gather.count(CUSTOMERS) == 3


def test_in_threads_where_a_replica_fails(threads, caplog):
    def count(rows):
        if "_" in rows.db:
            raise OperationalError("connection refused")
        return rows.count()

    with reading.scope():
        assert gather.each(CUSTOMERS, count) == {"shard0": 1, "shard1": 1}


def test_inside_a_transaction_a_gather_sees_its_own_writes(threads):
    with reading.scope(), transaction.atomic(using="shard0"):
        customer_on("shard0", "Eve")
        assert gather.count(CUSTOMERS) == 3
        assert asked()[0] == "shard0"


def test_commands_ask_the_primaries(customers, shop, capsys):
    customer_on("shard0", "Eve")
    call_command("shard_status")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["shard0", "512", "2"],
        ["shard1", "512", "1"],
    ]
