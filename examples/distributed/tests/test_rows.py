"""Django's queries, which know of one database. The same on SQLite, PostgreSQL and MariaDB."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, models, transaction
from django.db.models import Avg, Count, Exists, F, Max, Min, OuterRef, Sum, Window
from django.db.models.functions import Rank

from customers.models import Customer, Order
from directory import claims
from products.models import Product
from sharding.keys import bucket_of

pytestmark = pytest.mark.django_db(databases="__all__")
# With Spider there are no savepoints: an error ends the transaction, also that of a test.
commits = pytest.mark.django_db(databases="__all__", transaction=True)

OPENING_DAY = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def customers():
    """Thirty customers, with some orders each. Each node has several of them."""
    customers = Customer.objects.bulk_create(
        Customer(
            name=f"customer {n:02}", email=f"{n}@x.example", joined=OPENING_DAY + timedelta(days=n)
        )
        for n in range(30)
    )
    Order.objects.bulk_create(
        Order(customer=customer, product_id=n % 3 + 1, quantity=n % 5 + 1, price=n)
        for n, customer in enumerate(customers)
        for _ in range(n % 3)
    )
    return customers


def test_one_row():
    ada = Customer.objects.create(name="Ada", email="ada@clocks.example")
    order = ada.orders.create(product_id=1, price="2.50")
    assert bucket_of(order.pk) == bucket_of(ada.pk)
    assert Customer.objects.get(pk=ada.pk).name == "Ada"
    ada.name = "Ada Lovelace"
    ada.save()
    ada.save(update_fields=["name"])
    order.refresh_from_db()
    assert (order.customer.name, order.price) == ("Ada Lovelace", Decimal("2.50"))
    assert ada.delete() == (2, {"customers.Order": 1, "customers.Customer": 1})
    assert not Customer.objects.exists() and not Order.objects.exists()


def test_update_and_delete_count_rows(customers):
    assert Customer.objects.filter(name__gte="customer 20").update(email="x@x.example") == 10
    assert Order.objects.update(quantity=F("quantity") + 1) == 30
    assert Order.objects.filter(customer__name="customer 29").update(price=F("price") * 2) == 2
    assert set(customers[29].orders.values_list("price", flat=True)) == {58}
    assert Order.objects.filter(product_id=1).delete()[0] == 0
    assert Order.objects.filter(customer__in=customers[:10]).delete()[0] == 9
    assert Order.objects.count() == 21


def test_get_or_create_and_update_or_create(customers):
    row, created = Customer.objects.get_or_create(name="Ada", defaults={"email": "a@x.example"})
    assert created
    again, created = Customer.objects.get_or_create(name="Ada", defaults={"email": "b@x.example"})
    assert (again, again.email, created) == (row, "a@x.example", False)
    again, created = Customer.objects.update_or_create(pk=row.pk, defaults={"name": "Eunice"})
    assert (again.pk, created) == (row.pk, False)
    assert Customer.objects.get(pk=row.pk).name == "Eunice"


@commits
def test_a_key_twice():
    ada = Customer.objects.create(name="Ada", email="ada@clocks.example")
    with pytest.raises(IntegrityError), transaction.atomic():
        Customer.objects.create(pk=ada.pk, name="Eunice", email="eunice@clocks.example")
    assert Customer.objects.get().name == "Ada"


@commits
def test_an_order_of_no_customer():
    gone = Customer(name="gone")
    with pytest.raises(IntegrityError), transaction.atomic():
        Order.objects.create(customer_id=gone.pk, product_id=1, price=1)
    assert not Order.objects.exists()


def test_bulk_create_that_ignores_conflicts(customers):
    again = [Customer(pk=c.pk, name="again", email="again@x.example") for c in customers]
    new = Customer(name="new", email="new@x.example")
    Customer.objects.bulk_create([*again, new], ignore_conflicts=True)
    assert Customer.objects.count() == 31
    assert not Customer.objects.filter(name="again").exists()


def test_bulk_update(customers):
    for customer in customers:
        customer.name = customer.name.upper()
    assert Customer.objects.bulk_update(customers, ["name"]) == 30
    assert Customer.objects.filter(name__startswith="CUSTOMER").count() == 30


def test_select_for_update(customers):
    with transaction.atomic():
        locked = Customer.objects.select_for_update().filter(name__lt="customer 03")
        assert len(locked) == 3
        assert Customer.objects.select_for_update().get(pk=customers[5].pk) == customers[5]


def test_all_nodes_together(customers):
    assert Customer.objects.count() == len(Customer.objects.all()) == 30
    assert Customer.objects.aggregate(Min("joined"), Max("name")) == {
        "joined__min": OPENING_DAY,
        "name__max": "customer 29",
    }
    assert Order.objects.aggregate(sum=Sum(F("price") * F("quantity")), mean=Avg("quantity")) == {
        "sum": sum(n * (n % 5 + 1) * (n % 3) for n in range(30)),
        "mean": 3,
    }
    assert [c.name for c in Customer.objects.order_by("-joined")[:3]] == [
        "customer 29",
        "customer 28",
        "customer 27",
    ]
    assert [c.name for c in Customer.objects.order_by("name")[10:12]] == [
        "customer 10",
        "customer 11",
    ]
    assert [c.pk for c in Customer.objects.order_by("name").iterator(chunk_size=7)] == [
        c.pk for c in customers
    ]
    assert len(Customer.objects.in_bulk([c.pk for c in customers])) == 30


def test_joins(customers):
    """Of tables on the nodes, and of these with a table on the coordinator."""
    Product.objects.bulk_create(Product(pk=n + 1, name=f"clock {n}", price=1) for n in range(3))
    best = Customer.objects.annotate(spent=Sum(F("orders__price") * F("orders__quantity")))
    assert best.filter(spent__gt=0).order_by("-spent")[0].name == "customer 29"
    assert Customer.objects.annotate(n=Count("orders")).filter(n=2).count() == 10
    assert Order.objects.select_related("customer").order_by("-price")[0].customer.name == (
        "customer 29"
    )
    assert len(Customer.objects.prefetch_related("orders").order_by("name")[29].orders.all()) == 2
    product = Product.objects.filter(pk=OuterRef("product_id"), name="clock 1")
    assert Order.objects.filter(Exists(product)).count() == 10
    sold = Product.objects.annotate(
        sold=models.Subquery(
            Order.objects.filter(product_id=OuterRef("pk"))
            .order_by()
            .values("product_id")
            .annotate(sum=Sum("quantity"))
            .values("sum")
        )
    )
    assert list(sold.order_by("pk").values_list("sold", flat=True)) == [None, 30, 60]


def test_what_gather_refuses(customers):
    """Our own sharding raises TypeError for these."""
    assert Order.objects.aggregate(n=Count("customer", distinct=True))["n"] == 20
    ranks = Customer.objects.annotate(rank=Window(Rank(), order_by=F("joined").desc()))
    assert ranks.order_by("rank")[0].name == "customer 29"
    both = Customer.objects.filter(name__lt="customer 02").union(
        Customer.objects.filter(name__gt="customer 27")
    )
    assert both.count() == 4


@commits
def test_one_transaction_over_all_nodes(customers):
    with pytest.raises(RuntimeError), transaction.atomic():
        Customer.objects.update(name="gone")
        Order.objects.all().delete()
        raise RuntimeError
    assert Order.objects.count() == 30


@pytest.mark.skipif(
    not connection.features.uses_savepoints, reason="Spider, of MariaDB, refuses savepoints"
)
def test_an_inner_transaction_is_rolled_back_by_itself(customers):
    Customer.objects.filter(name__lt="customer 15").update(name="kept")
    with pytest.raises(RuntimeError), transaction.atomic():
        Customer.objects.update(name="gone")
        raise RuntimeError
    assert Customer.objects.filter(name="kept").count() == 15
    assert not Customer.objects.filter(name="gone").exists()


@commits
def test_an_address_belongs_to_one_customer():
    ada = Customer(name="Ada", email="ada@clocks.example")
    claims.save(ada)
    with pytest.raises(claims.EmailTaken):
        claims.save(Customer(name="Ada", email="ADA@clocks.example"))
    assert claims.find("Ada@clocks.example") == ada
