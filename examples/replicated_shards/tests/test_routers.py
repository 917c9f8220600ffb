"""The router: function first, then shard, then role."""

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import DatabaseError, connections, transaction
from django.db.utils import ConnectionRouter

from conftest import bucket_on, customer_on
from customers.models import Customer, Order
from directory.models import EmailAddress
from products.models import Product
from replicas import reading
from reviews.models import Review
from sharding.buckets import Bucket
from sharding.fences.models import HeldBucket
from sharding.fields import ShardUnknown
from shop.routers import ShopRouter
from tests.engines import only_sqlite
from tests.shops import ALIASES, READ_ONLY, REPLICAS


@pytest.fixture
def router():
    return ConnectionRouter([ShopRouter()])


def replicas_of(shard):
    return {f"{shard}_replica1", f"{shard}_replica2"}


@pytest.mark.parametrize(
    ("model", "aliases"),
    [
        (Product, ["default"]),
        (User, ["default"]),
        (Session, ["default"]),
        (Bucket, ["default"]),
        (EmailAddress, ["default"]),
        (Review, ["reviews"]),
        (Customer, ["shard0", "shard1"]),
        (Order, ["shard0", "shard1"]),
        (HeldBucket, ["shard0", "shard1"]),
    ],
)
def test_by_function(router, model, aliases):
    assert [a for a in ALIASES if router.allow_migrate_model(a, model)] == aliases
    if len(aliases) == 1:
        with reading.scope():
            assert router.db_for_read(model) == router.db_for_write(model) == aliases[0]


@pytest.mark.parametrize("shard", ["shard0", "shard1"])
@pytest.mark.parametrize("model", [Customer, Order])
def test_then_by_shard(shop, router, model, shard):
    hints = {"bucket": bucket_on(shard)}
    assert router.db_for_write(model, **hints) == shard
    assert router.db_for_read(model, **hints) == shard  # outside any scope
    assert router.db_for_write(model, instance=customer_on(shard)) == shard
    with pytest.raises(ShardUnknown):
        router.db_for_write(model)


@pytest.mark.parametrize("shard", ["shard0", "shard1"])
def test_then_by_role(shop, router, shard):
    seen = set()
    for _ in range(30):
        with reading.scope():
            seen.add(router.db_for_read(Customer, bucket=bucket_on(shard)))
            assert router.db_for_write(Customer, bucket=bucket_on(shard)) == shard
    assert seen == replicas_of(shard)


def test_what_belongs_to_a_row_of_the_primary_is_read_there(ada, router):
    with reading.scope():
        here, there = Customer.objects.using("shard0").get(), Customer.objects.get(pk=ada.pk)
        assert here._state.db == "shard0" and there._state.db in replicas_of("shard0")
        assert router.db_for_read(Order, instance=here) == "shard0"
        assert router.db_for_read(Order, instance=there) == there._state.db


def test_a_row_that_a_replica_gave_is_saved_to_its_shard(ada):
    with reading.scope():
        customer = Customer.objects.get(pk=ada.pk)
        assert customer._state.db in replicas_of("shard0")
        customer.name = "Ada King"
        customer.save()
        customer.orders.create(product_id=1, price=1)
        assert Customer.objects.using("shard0").get().name == "Ada King"
        customer.refresh_from_db()
        assert customer._state.db == "shard0"
        with pytest.raises(DatabaseError, match=READ_ONLY):
            Customer.objects.using("shard0_replica1")._raw_delete("shard0_replica1")


def test_within_a_transaction_on_a_shard_that_shard_is_read_there(ada, ben, router):
    with reading.scope(), transaction.atomic(using="shard0"):
        assert router.db_for_read(Customer, instance=Customer(pk=ada.pk)) == "shard0"
        assert Customer.objects.get(pk=ben.pk)._state.db in replicas_of("shard1")


def test_get_or_create_looks_on_the_shard(ada, shop):
    """A replica may lack the row, so get_or_create() reads the primary."""
    with reading.scope():
        ada.name = "Ada King"
        ada.save()
    with reading.scope():
        found, created = Customer.objects.get_or_create(pk=ada.pk, defaults={"name": "?"})
    assert (found.name, created) == ("Ada King", False)


def test_relations(ada, ben, router):
    assert router.allow_relation(ada, Order()) is True
    assert router.allow_relation(ada, ben) is False
    assert router.allow_relation(ada, Product()) is False
    assert router.allow_relation(Product(), User()) is True
    assert router.allow_relation(Review(), User()) is False
    with reading.scope():
        read = Customer.objects.get(pk=ada.pk)
    assert router.allow_relation(read, ada) is True
    Order(customer=read, product_id=1, price=1).save()


def test_nothing_is_migrated_on_a_replica(router):
    for alias in REPLICAS:
        for app in ("customers", "fences", "products", "reviews", "next_year"):
            assert router.allow_migrate(alias, app) is False


@only_sqlite("the app replication is for the files of SQLite")
def test_who_is_whose_replica(shop):
    from replication import files

    assert files.primaries() == {shard: sorted(replicas_of(shard)) for shard in files.primaries()}
    assert list(files.primaries()) == ["shard0", "shard1"]
    assert files.primary_of("shard1_replica2") == shop.file("shard1")


def test_tables(shop):
    """Each database has the tables of its function, and no others."""
    for alias in ALIASES:
        tables = set(connections[alias].introspection.table_names())
        assert ("reviews_review" in tables) == (alias == "reviews")
        assert ("customers_order" in tables) == alias.startswith("shard")
        assert ("products_product" in tables) == (alias == "default")
