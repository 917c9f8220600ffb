"""Scatter-gather with a thread a shard, as on servers; SQLite's files are taken for such."""

import threading

import pytest
from django.conf import settings
from django.db import OperationalError, connections, transaction

from conftest import customer_on
from customers.models import Customer
from sharding import gather, scatter
from tests import databases

CUSTOMERS = Customer.objects.all()


@pytest.fixture
def threads(shop, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(scatter, "_threads", {})
        for alias in settings.SHARDS:
            if connections[alias].vendor == "sqlite":
                patch.setattr(type(connections[alias]), "vendor", "a server")
        yield
        for pool in scatter._threads.values():
            pool.submit(connections.close_all).result()
            pool.shutdown()


def who(rows):
    return threading.current_thread().name, id(connections[rows.db].connection), rows.count()


def test_a_thread_a_shard_and_its_connection_stay(threads):
    customer_on("shard1")
    gather.count(CUSTOMERS)
    first, second = gather.each(CUSTOMERS, who), gather.each(CUSTOMERS, who)
    assert first == second
    assert [name for name, _, _ in first.values()] == [f"gather {a}_0" for a in settings.SHARDS]
    assert [count for _, _, count in first.values()] == [0, 1, 0, 0]


def test_they_are_asked_at_the_same_time(threads):
    barrier = threading.Barrier(len(settings.SHARDS), timeout=5)
    gather.each(CUSTOMERS, lambda rows: barrier.wait())


def test_inside_a_transaction_this_thread_asks_one_after_the_other(threads):
    me = threading.current_thread().name
    with transaction.atomic(using="shard1"):
        customer_on("shard1")
        asked = gather.each(CUSTOMERS, who)
    assert {name for name, _, _ in asked.values()} == {me}
    assert asked["shard1"][2] == 1  # sees its own write


def test_a_gather_within_a_gather_does_not_wait_for_itself(threads):
    counts = gather.each(CUSTOMERS, lambda rows: gather.count(CUSTOMERS))
    assert set(counts.values()) == {0}


def test_who_listens_here_hears_the_threads(threads):
    heard = []
    gather.count(CUSTOMERS)  # from here on they have their connections, which are not part of it

    def listen(execute, sql, params, many, context):
        heard.append(context["connection"].alias)
        return execute(sql, params, many, context)

    with (
        connections["shard0"].execute_wrapper(listen),
        connections["shard3"].execute_wrapper(listen),
    ):
        gather.count(CUSTOMERS)
    assert sorted(heard) == ["shard0", "shard3"]
    gather.count(CUSTOMERS)
    assert len(heard) == 2


def test_a_shard_that_is_down(threads):
    def ask(rows):
        if rows.db == "shard2":
            raise OperationalError("connection refused")
        return rows.count()

    answer = gather.each(CUSTOMERS, ask, partial=True)
    assert list(answer.value) == ["shard0", "shard1", "shard3"]
    assert str(answer.missing["shard2"]) == "connection refused"
    assert gather.count(CUSTOMERS) == 0  # and is asked again the next time


@pytest.mark.parametrize("times", [1, 2])
def test_a_connection_that_the_server_has_closed_is_opened_again(threads, times):
    count = gather.count(CUSTOMERS)  # each thread has its connection from here on
    failures = iter(range(times))

    def fail(execute, sql, params, many, context):
        if next(failures, None) is not None:
            raise OperationalError("the server closed the connection")
        return execute(sql, params, many, context)

    with connections["shard0"].execute_wrapper(fail):
        if times == 1:
            assert gather.count(CUSTOMERS) == count
        else:  # It is not asked a third time.
            with pytest.raises(gather.ShardDown, match="shard0"):
                gather.count(CUSTOMERS)
    assert next(failures, None) is None


def test_a_shard_whose_database_is_lost_is_down(shop):
    for alias in settings.SHARDS:
        customer_on(alias)
    assert gather.count(CUSTOMERS) == 4
    scatter.close("shard2")
    with databases.lost("shard2", shop) as (_, said):
        with pytest.raises(gather.ShardDown, match=f"^shard2 is unavailable: {said}"):
            gather.count(CUSTOMERS)
        answer = gather.count(CUSTOMERS, partial=True)
        assert answer.value == 3 and list(answer.missing) == ["shard2"]
    assert gather.count(CUSTOMERS) == 4
