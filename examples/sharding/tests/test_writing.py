"""A write, and a bucket that is on the move; on files, where a transaction is what it is."""

import pytest
from django.db import models

from conftest import bucket_on, customer_on
from customers.models import Customer, Order
from sharding.buckets import alias_of, forget_map
from sharding.fences.models import HeldBucket
from sharding.keys import new_key
from sharding.reshard import change_map
from sharding.routers import ShardRouter
from sharding.writing import WrongShard


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
            models.Model.save_base(customer, using="shard2", raw=True, force_insert=True)
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
