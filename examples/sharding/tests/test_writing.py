"""A write, and a bucket that is on the move; on files, where a transaction is what it is."""

import threading

import pytest
from django.conf import settings
from django.core import serializers
from django.db import connections, models, transaction
from django.db.models import Count
from django.db.transaction import TransactionManagementError

from conftest import bucket_on, customer_on
from customers.models import Customer, Order
from sharding import buckets
from sharding import writing as writing_module
from sharding.buckets import alias_of, forget_map, shard_map
from sharding.fences.models import HeldBucket
from sharding.keys import new_key
from sharding.reshard import change_map, reshard
from sharding.routers import ShardRouter
from sharding.writing import BucketMoving, WrongShard, writing


def test_a_write_waits_for_its_bucket_and_follows_it(shop, monkeypatch):
    bucket = bucket_on("shard1")
    customer = Customer(pk=new_key(bucket), name="Ada", email="")
    models.QuerySet(HeldBucket, using="shard1").filter(number=bucket).delete()

    def move(seconds):
        change_map([bucket], alias="shard2", placement=True)
        models.QuerySet(HeldBucket, using="shard2").create(number=bucket)

    monkeypatch.setattr("sharding.writing.time.sleep", move)
    forget_map()
    customer.save()
    assert customer._state.db == alias_of(bucket) == "shard2"
    assert Customer.objects.using("shard2").get() == customer
    assert not Customer.objects.using("shard1").exists()


@pytest.fixture
def customer(shop, monkeypatch):
    """A customer whose bucket moves when Django has the router's answer, and hasn't written yet."""
    customer = customer_on("shard1", "Ada")
    ask = ShardRouter.db_for_write

    def answer_and_move(router, model, **hints):
        answer = ask(router, model, **hints)
        if alias_of(customer.bucket) == "shard1":
            models.QuerySet(HeldBucket, using="shard1").filter(number=customer.bucket).delete()
            models.QuerySet(HeldBucket, using="shard2").create(number=customer.bucket)
            models.QuerySet(Customer, using="shard2").bulk_create([customer])
            change_map([customer.bucket], alias="shard2", placement=True)
            forget_map()
        return answer

    monkeypatch.setattr(ShardRouter, "db_for_write", answer_and_move)
    return customer


def rows(model, alias):
    return models.QuerySet(model, using=alias)


@pytest.mark.parametrize(
    "write",
    [
        lambda orders: orders.create(product_id=1, price=1),
        lambda orders: orders.get_or_create(product_id=1, defaults={"price": 1}),
        lambda orders: orders.update_or_create(product_id=1, defaults={"price": 1}),
    ],
)
def test_what_belongs_to_a_row_goes_where_that_is_by_then(customer, write):
    write(customer.orders)
    assert rows(Order, "shard2").get().customer_id == customer.pk
    assert not rows(Order, "shard1").exists()


@pytest.mark.parametrize(
    "write",
    [
        lambda found: found.update(name="Eunice"),
        lambda found: found.update_or_create(defaults={"name": "Eunice"}),
        lambda found: found.delete(),
    ],
)
def test_a_row_is_changed_where_it_is_by_then(customer, write):
    write(Customer.objects.filter(pk=customer.pk))
    assert rows(Customer, "shard1").get().name == "Ada"  # which reshard would delete
    assert not rows(Customer, "shard2").filter(name="Ada").exists()


def test_a_shard_that_was_named_is_not_left_for_another(shop, monkeypatch):
    """A write to a shard that the caller named ends there or nowhere."""
    customer = customer_on("shard1")
    models.QuerySet(HeldBucket, using="shard1").filter(number=customer.bucket).delete()

    def move(seconds):
        change_map([customer.bucket], alias="shard2", placement=True)
        models.QuerySet(HeldBucket, using="shard2").create(number=customer.bucket)

    monkeypatch.setattr("sharding.writing.time.sleep", move)
    with pytest.raises(WrongShard, match="belong on shard2, not on shard1"):
        customer.save(using="shard1")


@pytest.fixture
def moves(shop, monkeypatch):
    """Run an act again and again, while buckets 0 to 9 move; return what it raised."""
    monkeypatch.setattr(buckets, "LEASE", 0.1)

    def run(act):
        raised, done = [], threading.Event()

        def loop():
            try:
                while not done.is_set():
                    act()
            except Exception as error:  # whatever it is, the test shows it
                raised.append(error)
            finally:
                connections.close_all()

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            reshard(range(10), "shard2")
        finally:
            done.set()
            thread.join()
        return raised

    return run


def in_each_bucket():
    return [Customer(pk=new_key(bucket), name="Ada", email="") for bucket in range(10)]


def test_bulk_create_goes_on_while_its_buckets_move(moves):
    made = []
    assert moves(lambda: made.extend(Customer.objects.bulk_create(in_each_bucket()))) == []
    found = [row.pk for alias in settings.SHARDS for row in Customer.objects.using(alias)]
    assert sorted(found) == sorted(row.pk for row in made)
    assert {alias_of(row.bucket) for row in made} == {"shard2"}


def test_bulk_update_goes_on_while_its_buckets_move(moves):
    made = Customer.objects.bulk_create(in_each_bucket())

    def update():
        for row in made:
            row.name += "!"
        assert Customer.objects.bulk_update(made, ["name"]) == len(made)

    assert moves(update) == []
    found = Customer.objects.in_bulk([row.pk for row in made])
    assert [found[row.pk].name for row in made] == [row.name for row in made]


@pytest.mark.parametrize("alias", ["shard0", "shard2"])
def test_all_of_a_shard_can_be_changed_while_buckets_leave_or_come(moves, alias):
    rows = Customer.objects.using(alias).filter(name="nobody")
    assert moves(lambda: (rows.update(name="x"), rows.delete())) == []


def test_buckets_that_a_move_has_separated_are_waited_for(shop, monkeypatch):
    """They were on one shard when they were named, and will be again."""
    change_map([0], alias="shard2", uncounted_on="shard0", placement=True)
    monkeypatch.setattr("sharding.writing.PATIENCE", 0.05)
    with pytest.raises(BucketMoving, match="from or to shard0 and shard2"), writing([0, 1]):
        pass
    with pytest.raises(BucketMoving, match="from or to shard0\\."), writing([0], "shard0"):
        pass


def test_a_row_that_is_locked_keeps_its_bucket(shop):
    """On PostgreSQL else the lock is that of a row which counts no more, and a change is lost."""
    customer = customer_on("shard1")
    other = customer_on("shard3")
    HeldBucket.objects.using("shard1").filter(pk=customer.bucket).delete()
    rows_to_lock = Customer.objects.select_for_update()
    with transaction.atomic(using="shard1"):
        for read in (
            lambda: rows_to_lock.get(pk=customer.pk),
            lambda: list(rows_to_lock.filter(pk=customer.pk).iterator()),
            lambda: list(rows_to_lock.using("shard1").values_list("pk")),
        ):
            with pytest.raises(BucketMoving):  # moving, though the rows are still here
                read()
        with pytest.raises(BucketMoving, match="are on shard3, but the open transaction"):
            rows_to_lock.get(pk=other.pk)
    with transaction.atomic(using="shard3"):
        assert rows_to_lock.get(pk=other.pk) == other


def test_a_row_that_is_locked_is_waited_for(shop, monkeypatch):
    """By the lock on its bucket."""
    customer = customer_on("shard1")
    sent = statements(monkeypatch, "shard1")
    with transaction.atomic(using="shard1"):
        Customer.objects.select_for_update().get(pk=customer.pk)
    assert [is_shared(sql) for sql in sent] == [True, False]


def statements(monkeypatch, alias):
    """Return a list that gets the SQL sent to a shard; SQLite's is as if it could share a lock."""
    monkeypatch.setitem(writing_module.SHARED, "sqlite", "/* SHARED */")
    sent = []

    def note(execute, sql, *args):
        if not sql.startswith("BEGIN"):
            sent.append(sql)
        return execute(sql, *args)

    monkeypatch.setattr(connections[alias], "execute_wrappers", [note])
    return sent


def is_shared(sql):
    return sql.endswith(tuple(writing_module.SHARED.values()))


def test_writers_share_the_lock_but_while_their_bucket_is_to_move(shop, monkeypatch):
    """Else a change of no row would keep all writers of the shard waiting."""
    customer = customer_on("shard1")
    sent = statements(monkeypatch, "shard1")
    nobody = Customer.objects.using("shard1").filter(name="nobody")

    def shared():
        sent.clear()
        customer.save()
        nobody.update(name="x")
        return [is_shared(sql) for sql in sent if "fences_heldbucket" in sql]

    assert shared() == [True, True]
    change_map([customer.bucket], uncounted_on="shard2", placement=True)
    # Or a move could wait for ever: each new writer would pass it by. The others are shared still.
    assert shared() == [False, False, True]
    with transaction.atomic(using="shard1"):
        customer.save()  # might have the shared one from before: two such would wait for each other
        assert is_shared(next(sql for sql in reversed(sent) if "heldbucket" in sql))


def test_a_new_row_is_on_the_shard_that_is_named(shop):
    for _ in range(20):
        assert Customer.objects.using("shard2").create(name="Ada").shard == "shard2"
    found, new = Customer.objects.using("shard3").get_or_create(name="Eunice")
    assert (found.shard, new) == ("shard3", True)


@pytest.fixture
def deserialized(shop):
    customer = customer_on("shard1")
    (row,) = serializers.deserialize("json", serializers.serialize("json", [customer]))
    return row


def test_a_deserialized_row_holds_its_bucket(deserialized):
    """Django writes it past ``save()``."""
    HeldBucket.objects.using("shard1").filter(pk=deserialized.object.bucket).delete()
    with pytest.raises(BucketMoving), transaction.atomic(using="shard1"):
        deserialized.save()


def test_a_deserialized_row_is_saved_in_a_transaction(deserialized):
    with pytest.raises(
        TransactionManagementError, match=r'with transaction.atomic\(using="shard1"'
    ):
        deserialized.save()
    with transaction.atomic(using="shard1"):
        deserialized.save()


def test_a_shard_without_buckets_takes_no_new_row(shop):
    change_map(shard_map().buckets("shard3"), alias="shard0", placement=True)
    forget_map()
    with pytest.raises(WrongShard, match="shard3 has no buckets, so it takes no new rows"):
        Customer.objects.using("shard3").create(name="Ada")


@pytest.mark.parametrize(
    "read",
    [
        lambda pk: Customer.objects.get(pk=pk),
        lambda pk: Customer.objects.filter(pk=pk).exists(),
        lambda pk: Customer.objects.filter(pk=pk).count(),
        lambda pk: Customer.objects.filter(pk=pk).aggregate(n=Count("pk"))["n"],
        lambda pk: list(Customer.objects.filter(pk=pk).iterator()),
        lambda pk: list(Customer.objects.filter(pk=pk).values_list("pk")),
        lambda pk: Customer.objects.in_bulk([pk]),
        lambda pk: Customer(pk=pk).refresh_from_db() is None,
        lambda pk: list(Customer(pk=pk).orders.all()),
    ],
)
def test_a_read_that_comes_after_the_rows_have_left_finds_them(shop, monkeypatch, read):
    monkeypatch.setattr(buckets, "LEASE", 0.05)
    customer = customer_on("shard1")
    customer.orders.create(product_id=1, price=1)
    moved = []

    def slow(execute, sql, *args):
        if "customers_" in sql and not moved:
            moved.append(sql)
            thread = threading.Thread(
                target=lambda: (reshard([customer.bucket], "shard2"), connections.close_all())
            )
            thread.start()
            thread.join()
        return execute(sql, *args)

    with connections["shard1"].execute_wrapper(slow):
        assert read(customer.pk)
    assert moved and alias_of(customer.bucket) == "shard2"
