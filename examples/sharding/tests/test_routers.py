"""The router, the traps that it avoids, and each way that Django has to find a row's shard.

The tests that take ``naive_or_ours`` run on a naive router too, which they have to catch:
``strict`` makes a test fail that lets it pass.
"""

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import IntegrityError, connections, models, router
from django.db.migrations import RunPython
from django.db.migrations.state import ProjectState
from django.db.utils import ConnectionRouter

from conftest import ALIASES, bucket_on, customer_on
from customers.models import Customer, Order
from directory.models import EmailAddress
from products.models import Product
from sharding.buckets import Bucket, alias_of, forget_map
from sharding.fences.models import HeldBucket
from sharding.fields import ShardUnknown, in_bucket
from sharding.keys import bucket_of, new_key
from sharding.models import sharded_models
from sharding.reshard import change_map
from sharding.routers import ShardRouter
from sharding.writing import BucketMoving, WrongShard, writing

pytestmark = pytest.mark.django_db(databases=ALIASES)


class NaiveRouter:
    """A hash of the key, modulo the number of shards; where there is no key, ``default``."""

    def db_for_read(self, model, instance=None, **hints):
        if model._meta.app_label != "customers":
            return None
        if instance is None or instance.pk is None:
            return "default"
        return settings.SHARDS[instance.pk % len(settings.SHARDS)]

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints):
        return db in settings.SHARDS if app_label == "customers" else None


@pytest.fixture(
    params=[
        ShardRouter,
        pytest.param(
            NaiveRouter,
            marks=pytest.mark.xfail(strict=True, raises=(AssertionError, pytest.fail.Exception)),
        ),
    ]
)
def naive_or_ours(request):
    return ConnectionRouter([request.param()])


def where(model, pk):
    """The aliases of the databases that have a row: asked of each, past any router."""
    return [a for a in settings.SHARDS if models.QuerySet(model, using=a).filter(pk=pk).exists()]


# What the router says


@pytest.mark.parametrize("model", [Product, User, Session, EmailAddress, Bucket])
def test_what_is_global_is_in_default(model):
    assert router.db_for_read(model) == router.db_for_write(model) == "default"
    assert [a for a in ALIASES if router.allow_migrate_model(a, model)] == ["default"]


@pytest.mark.parametrize("model", [Customer, Order, HeldBucket])
def test_what_is_sharded_is_on_each_shard_and_not_in_default(model):
    assert [a for a in ALIASES if router.allow_migrate_model(a, model)] == settings.SHARDS


@pytest.mark.parametrize("app", ["products", "auth", "sessions", "next_year"])
def test_no_other_app_comes_onto_a_shard(naive_or_ours, app):
    assert [a for a in ALIASES if naive_or_ours.allow_migrate(a, app)] == ["default"]


def test_run_python_runs_in_the_databases_of_its_app_alone(naive_or_ours, monkeypatch):
    monkeypatch.setattr("django.db.migrations.operations.special.router", naive_or_ours)
    ran = []
    for app in ("products", "customers"):
        for alias in ALIASES:
            operation = RunPython(lambda *_, pair=(app, alias): ran.append(pair))
            editor = connections[alias].schema_editor()
            operation.database_forwards(app, editor, ProjectState(), None)
    assert ran == [("products", "default"), *(("customers", alias) for alias in settings.SHARDS)]


def test_without_a_key_it_raises_and_says_what_to_pass(naive_or_ours):
    with pytest.raises(ShardUnknown, match=r"this customer is unknown\. Pass id=, name the"):
        naive_or_ours.db_for_read(Customer)
    with pytest.raises(ShardUnknown, match=r"this order is unknown\. Pass id= or customer="):
        naive_or_ours.db_for_write(Order)


def test_the_key_decides_and_not_where_the_instance_came_from(naive_or_ours):
    """A row that was read before its bucket moved is written to where that is now."""
    customer = customer_on("shard0")
    assert customer._state.db == "shard0"
    change_map([customer.bucket], alias="shard3", placement=True)
    forget_map()
    assert naive_or_ours.db_for_write(Customer, instance=customer) == "shard3"


def test_a_new_order_is_placed_by_its_customer(naive_or_ours):
    customer = customer_on("shard2")
    assert naive_or_ours.db_for_write(Order, instance=Order(customer_id=customer.pk)) == "shard2"
    assert naive_or_ours.db_for_read(Order, instance=customer) == "shard2"


def test_relations_stay_within_a_bucket(naive_or_ours):
    here, there = customer_on("shard1"), Customer(pk=new_key(bucket_on("shard1") + 1))
    there._state.db = "shard1"
    order = Order(pk=new_key(here.bucket))
    order._state.db = "shard1"
    assert naive_or_ours.allow_relation(order, here)
    assert not naive_or_ours.allow_relation(order, there)  # which may move away, on its own


def test_relations_between_what_is_global_and_what_is_sharded():
    assert router.allow_relation(Product(), User())
    assert not router.allow_relation(Product(), Order())


# Where Django's ways to write and read lead


@pytest.mark.parametrize("alias", settings.SHARDS)
class TestEachWayFindsTheShard:
    def test_create(self, alias):
        pk = new_key(bucket_on(alias))
        assert Customer.objects.create(pk=pk, name="", email="")._state.db == alias
        assert where(Customer, pk) == [alias]

    def test_save(self, alias):
        customer = Customer(pk=new_key(bucket_on(alias)), name="", email="")
        customer.save()
        customer.name = "Ada"
        customer.save()
        assert where(Customer, customer.pk) == [alias]
        assert Customer.objects.using(alias).get().name == "Ada"

    def test_get_and_filter(self, alias):
        customer, other = customer_on(alias), customer_on("shard0")
        assert Customer.objects.get(pk=customer.pk) == customer
        assert Customer.objects.get(models.Q(id=str(customer.pk)), name__contains="A") == customer
        assert Customer.objects.filter(pk__in=[customer.pk]).count() == 1
        assert other not in Customer.objects.filter(pk=customer.pk)

    def test_get_or_create(self, alias):
        pk = new_key(bucket_on(alias))
        customer, created = Customer.objects.get_or_create(pk=pk, defaults={"name": "Ada"})
        assert created and where(Customer, pk) == [alias]
        assert Customer.objects.get_or_create(pk=pk) == (customer, False)
        Customer.objects.update_or_create(pk=pk, defaults={"name": "Eunice"})
        assert Customer.objects.get(pk=pk).name == "Eunice"

    def test_an_order_of_a_customer(self, alias):
        customer = customer_on(alias)
        orders = [
            customer.orders.create(product_id=1, price=1),
            Order.objects.create(customer=customer, product_id=1, price=1),
            Order.objects.create(customer_id=customer.pk, product_id=1, price=1),
            Order.objects.get_or_create(customer=customer, product_id=2, defaults={"price": 1})[0],
            customer.orders.get_or_create(product_id=3, defaults={"price": 1})[0],
        ]
        saved = Order(customer=customer, product_id=1, price=1)
        saved.save()
        for order in [*orders, saved]:
            assert bucket_of(order.pk) == customer.bucket
            assert where(Order, order.pk) == [alias]
            assert Order.objects.get(pk=order.pk).customer == customer
        assert set(Order.objects.filter(customer=customer)) == {*orders, saved}
        assert customer.orders.filter(product_id=1).count() == 4

    def test_update_refresh_and_delete(self, alias):
        customer = customer_on(alias)
        assert Customer.objects.filter(pk=customer.pk).update(name="Eunice") == 1
        customer.refresh_from_db()
        assert customer.name == "Eunice"
        customer.orders.create(product_id=1, price=1)
        assert customer.orders.update(price=2) == 1
        assert customer.orders.all().delete() == (1, {"customers.Order": 1})
        order = customer.orders.create(product_id=1, price=1)
        assert customer.delete()[0] == 2
        assert where(Customer, customer.pk) == where(Order, order.pk) == []

    def test_delete_of_a_queryset(self, alias):
        customer, other = customer_on(alias), customer_on(alias)
        assert Customer.objects.filter(pk=customer.pk).delete()[0] == 1
        assert where(Customer, customer.pk) == [] and where(Customer, other.pk) == [alias]

    def test_forms_check_a_row_on_its_shard(self, alias):
        customer = customer_on(alias)
        Order(customer=customer, product_id=1, price=1).full_clean()
        Customer(pk=new_key(bucket_on(alias)), name="Ada", email="a@clocks.example").full_clean()


def test_a_new_customer_goes_to_the_bucket_in_the_key_that_it_was_given():
    customer = Customer.objects.create(name="Ada", email="")
    assert where(Customer, customer.pk) == [alias_of(bucket_of(customer.pk))]


@pytest.mark.parametrize("alias", settings.SHARDS)
def test_an_order_of_a_customer_who_is_not_saved_yet(alias):
    """Django asks for the customer's shard with the order, which has no key."""
    customer = Customer(pk=new_key(bucket_on(alias)), name="Ada", email="")
    order = Order(customer=customer, product_id=1, price=1)
    assert order._state.db == customer._state.db == alias
    customer.save()
    order.save()
    assert where(Customer, customer.pk) == where(Order, order.pk) == [alias]
    old = Order(product_id=2, price=1)
    old._state.db = "shard0"  # a move may come between the two questions
    old.customer = Customer(pk=new_key(customer.bucket), name="Ben", email="")
    old.customer.save()
    old.save()
    assert where(Customer, old.customer_id) == where(Order, old.pk) == [alias]


def test_where_a_row_without_a_key_came_from_says_nothing_of_itself():
    customer = customer_on("shard1")
    customer.delete()
    assert customer.pk is None and customer._state.db == "shard1"
    with pytest.raises(ShardUnknown):
        router.db_for_write(Customer, instance=customer)
    with pytest.raises(ShardUnknown):
        router.db_for_write(Customer, instance=Order())


def test_bulk_create_and_bulk_update_over_all_shards():
    rows = [Customer(pk=new_key(bucket_on(a)), name=a, email="") for a in settings.SHARDS * 3]
    assert Customer.objects.bulk_create(rows) == rows
    assert all(where(Customer, row.pk) == [row.name] for row in rows)
    assert Order.objects.bulk_create([Order(customer=r, product_id=1, price=1) for r in rows])
    assert all(row.orders.get()._state.db == row.name for row in rows)
    for row in rows:
        row.email = "new"
    assert Customer.objects.bulk_update(rows, ["email"]) == 12
    assert {row.email for row in Customer.objects.in_bulk([r.pk for r in rows]).values()} == {"new"}


def test_in_bulk_asks_only_the_shards_that_have_the_keys(customers, django_assert_num_queries):
    some = customers[1:3]
    with (
        django_assert_num_queries(0, using="shard0"),
        django_assert_num_queries(1, using="shard1"),
        django_assert_num_queries(1, using="shard2"),
        django_assert_num_queries(0, using="shard3"),
    ):
        assert Customer.objects.in_bulk([c.pk for c in some]) == {c.pk: c for c in some}
    assert Customer.objects.in_bulk([]) == Customer.objects.in_bulk([-1, 10**30]) == {}


def test_rows_of_two_shards_are_never_equal(customers):
    """Trap 18: ``==`` and ``hash()`` of rows compare keys, whatever the database."""
    assert len(set(customers)) == len({c.pk for c in customers}) == 4


# What can't be had


@pytest.mark.parametrize(
    "ask",
    [
        lambda: Customer.objects.count(),
        lambda: list(Customer.objects.all()),
        lambda: Customer.objects.filter(name="Ada").exists(),
        lambda: Customer.objects.exclude(pk=1).first(),
        lambda: Customer.objects.filter(models.Q(pk=1) | models.Q(name="Ada")).first(),
        lambda: Customer.objects.get_or_create(email="a@clocks.example"),
        lambda: Customer.objects.update(name=""),
        lambda: Customer.objects.all().delete(),
        lambda: Order.objects.create(product_id=1, price=1),
        lambda: Order(product_id=1, price=1).save(),
        lambda: Customer.objects.raw("SELECT * FROM customers_customer").db,
    ],
)
def test_no_way_to_know_the_shard(ask):
    with pytest.raises(ShardUnknown, match="The shard of this"):
        ask()


def test_keys_of_several_shards(customers):
    for ask in (lambda rows: rows.count(), lambda rows: rows.delete()):
        with pytest.raises(ShardUnknown, match="on 4 shards: shard0, shard1, shard2, shard3"):
            ask(Customer.objects.filter(pk__in=[c.pk for c in customers]))


def test_prefetching_for_rows_of_several_shards(customers):
    """Django would ask the first one's shard, and find the others to have no orders."""
    with pytest.raises(ShardUnknown, match="on 4 shards"):
        models.prefetch_related_objects(customers, "orders")


@pytest.mark.parametrize("pk", [-1, 2**53, 10**30])
def test_what_can_be_no_key_is_nowhere(pk):
    assert not Customer.objects.filter(pk=pk).exists()


def test_a_row_can_not_be_written_to_another_shard():
    customer = customer_on("shard1")
    for write in (
        lambda: customer.save(using="shard2"),
        lambda: customer.delete(using="shard2"),
        lambda: Customer.objects.using("shard2").create(pk=new_key(customer.bucket)),
        lambda: Customer.objects.using("shard2").bulk_create([customer]),
        lambda: Customer.objects.using("shard2").filter(pk=customer.pk).update(name=""),
    ):
        with pytest.raises(WrongShard, match="belong on shard1, not on shard2"):
            write()


def test_an_order_can_not_leave_its_customers_bucket():
    here, there = customer_on("shard1"), Customer(pk=new_key(bucket_on("shard1") + 1))
    there.save()
    order = here.orders.create(product_id=1, price=1)
    with pytest.raises(ValueError, match="the current database router prevents this relation"):
        order.customer = there
    order.customer_id = there.pk
    with pytest.raises(IntegrityError, match="order_in_its_customers_bucket"):
        order.save()


def test_a_transaction_is_on_one_shard(customers):
    both = writing([customers[0].bucket, customers[1].bucket])
    with pytest.raises(WrongShard, match="are on shard0 and shard1. One transaction can't"), both:
        pass


# A bucket on the move


def test_a_shard_takes_no_write_for_a_bucket_that_it_does_not_hold(monkeypatch):
    customer = customer_on("shard1")
    models.QuerySet(HeldBucket, using="shard1").filter(number=customer.bucket).delete()
    monkeypatch.setattr("sharding.writing.PATIENCE", 0.05)
    for write in (
        customer.save,
        customer.delete,
        lambda: customer.orders.create(product_id=1, price=1),
        lambda: Customer.objects.filter(pk=customer.pk).update(name=""),
        lambda: Customer.objects.filter(pk=customer.pk).delete(),
        lambda: Customer.objects.using("shard1").update(name=""),
        lambda: Customer.objects.bulk_create([Customer(pk=new_key(customer.bucket))]),
    ):
        with pytest.raises(BucketMoving):
            write()
    assert where(Customer, customer.pk) == ["shard1"]


# The rest


def test_in_bucket_is_for_what_says_nothing():
    bucket = bucket_on("shard3")
    with in_bucket(bucket):
        assert router.db_for_write(Customer) == "shard3"
        assert bucket_of(Customer().pk) == bucket
        assert router.db_for_read(Customer, instance=customer_on("shard1")) == "shard1"
    with pytest.raises(ShardUnknown):
        router.db_for_write(Customer)


def test_sharded_models_are_listed_those_first_that_others_belong_to():
    assert sharded_models() == [Customer, Order]
