"""The shop with ``SHARDS = []`` is as with Django's own models. ``test_plain.py`` runs this."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.conf import settings
from django.contrib.admin import ModelAdmin
from django.contrib.auth.models import User
from django.core import serializers
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connections, models, router, transaction
from django.db.models import Count, Exists, F, Max, OuterRef, Sum
from django.test.utils import CaptureQueriesContext, isolate_apps
from django.utils import timezone

from customers.models import Customer, Order
from directory import claims
from directory.models import EmailAddress
from products.models import Product
from sharding import checks, gather, scatter
from sharding.admin import ShardedAdmin
from sharding.buckets import Bucket, MapVersion, alias_of, shard_map, shards
from sharding.fences.models import HeldBucket
from sharding.fields import KeyField, ShardUnknown
from sharding.keys import bucket_of, keys_of, new_key
from sharding.models import Sharded, ShardedManager, ShardedQuerySet
from sharding.writing import write_rows, writing

HOME = router.db_for_write(Customer)
pytestmark = pytest.mark.django_db(databases=list(settings.DATABASES))


@pytest.fixture
def queries():
    """Return a function that calls another, and returns how many queries were sent."""

    def count(call):
        captured = [CaptureQueriesContext(connections[alias]) for alias in settings.DATABASES]
        for one in captured:
            one.__enter__()
        try:
            call()
        finally:
            for one in captured:
                one.__exit__(None, None, None)
        return sum(map(len, captured))

    return count


@pytest.fixture
def product():
    return Product.objects.create(name="Patient sundial", description="", price="9.50")


@pytest.fixture
def ada():
    return Customer.objects.create(name="Ada", email="ada@clocks.example")


@pytest.fixture
def staff(client):
    user = User.objects.create(username="clerk", is_staff=True, is_superuser=True)
    client.force_login(user)
    return client


def customers(number):
    return [Customer(name=f"Customer {n}", email=f"{n}@clocks.example") for n in range(number)]


def test_the_classes_are_those_of_django():
    assert type(Customer.objects) is models.Manager is ShardedManager
    assert type(Customer.objects.all()) is models.QuerySet is ShardedQuerySet
    assert Customer.save is models.Model.save and Customer.delete is models.Model.delete
    assert ShardedAdmin.get_changelist is ModelAdmin.get_changelist


def test_there_is_no_map_and_no_fence():
    assert not Bucket.objects.exists() and not MapVersion.objects.exists()
    assert not HeldBucket.objects.exists()


def test_each_method_sends_the_queries_of_django(queries, ada):
    pk = ada.pk
    order = ada.orders.create(product_id=1, price=1)
    create = Customer.objects.create
    assert queries(lambda: create(name="Eunice", email="e@clocks.example")) == 1
    assert queries(Customer(name="Su", email="su@clocks.example").save) == 1
    assert queries(ada.save) == 1
    assert queries(lambda: ada.orders.create(product_id=1, price=1)) == 1
    assert queries(lambda: Customer.objects.get(pk=pk)) == 1
    assert queries(lambda: Customer.objects.get(name="Su")) == 1
    assert queries(lambda: Customer.objects.filter(pk=pk).update(name="Ada L.")) == 1
    assert queries(Customer.objects.count) == 1
    assert queries(Customer.objects.filter(name="Su").exists) == 1
    assert queries(lambda: list(Order.objects.select_related("customer"))) == 1
    assert queries(lambda: list(Customer.objects.prefetch_related("orders"))) == 2
    assert queries(lambda: Order.objects.get(pk=order.pk).customer) == 2
    assert queries(lambda: gather.count(Customer.objects.all())) == 1
    assert queries(lambda: gather.in_bulk(Customer.objects.all(), [pk])) == 1
    assert queries(lambda: gather.top(Customer.objects.order_by("-joined"), 5)) == 1
    assert queries(lambda: (shard_map(), alias_of(7), ada.shard)) == 0
    assert queries(order.delete) == 1


def test_a_key_has_its_bucket_as_on_shards(ada):
    order = ada.orders.create(product_id=1, price=1)
    made = Order.objects.bulk_create([Order(customer=ada, product_id=1, price=1)])
    assert ada.bucket == bucket_of(ada.pk) == order.bucket == made[0].bucket
    assert Customer.objects.create(pk=new_key(7), name="Su").bucket == 7
    assert ada.shard == HOME == ada._state.db
    new = Order(customer=ada)
    new.give_key()
    assert new.bucket == ada.bucket


def test_a_bucket_can_go_to_a_shard(ada):
    Customer.objects.create(pk=new_key((ada.bucket + 1) % 1024), name="Su")
    assert Customer.objects.get(pk__range=keys_of(ada.bucket)) == ada


def test_queries_without_a_key():
    made = Customer.objects.bulk_create(customers(6))
    Order.objects.bulk_create(
        Order(customer=customer, product_id=n, price=n, quantity=1)
        for n, customer in enumerate(made)
    )
    rows = Customer.objects.order_by("name")
    assert Customer.objects.count() == 6
    assert rows.filter(name="Customer 3").get() == made[3] == rows[3]
    assert rows.filter(orders__price__gte=4).count() == 2
    assert Order.objects.aggregate(Sum("price"), Max("price")) == {
        "price__sum": 15,
        "price__max": 5,
    }
    assert rows.filter(pk__in=Order.objects.filter(price=2).values("customer_id")).get() == made[2]
    assert rows.filter(Exists(Order.objects.filter(price=F("quantity")))).count() == 6
    assert rows.exclude(Exists(Order.objects.filter(customer=OuterRef("pk"), price=5))).count() == 5
    first, last = (Customer.objects.filter(name=f"Customer {n}") for n in (0, 5))
    assert {row.pk for row in first.union(last)} == {made[0].pk, made[5].pk}
    assert rows.annotate(n=Count("orders")).values_list("n", flat=True).distinct().get() == 1
    assert Customer.objects.in_bulk() == {row.pk: row for row in made}
    assert len(list(rows.iterator())) == 6
    assert made[0].get_next_by_joined() == made[1]
    with transaction.atomic(using=HOME):
        assert rows.select_for_update().get(name="Customer 1") == made[1]
    for row in made:
        row.name = "Su"
    assert Customer.objects.bulk_update(made, ["name"]) == 6
    assert Customer.objects.filter(name="Su").delete()[1]["customers.Customer"] == 6


def test_get_or_create_and_update_or_create_without_a_key():
    created = [Customer.objects.get_or_create(name="Su")[1] for _ in range(2)]
    assert created == [True, False]
    su, created = Customer.objects.update_or_create(name="Su", defaults={"email": "s@c.example"})
    assert not created and Customer.objects.get().email == su.email == "s@c.example"


def test_gather_queries_the_one_database():
    made = Customer.objects.bulk_create(customers(5))
    for n, customer in enumerate(made):
        customer.joined = timezone.now() + timedelta(days=n)
        customer.save()
        customer.orders.create(product_id=1, price=n)
    rows = Customer.objects.order_by("-joined")
    assert gather.count(rows) == len(gather.AllRows(rows)) == 5
    assert gather.top(rows, 3, 1) == gather.AllRows(rows)[1:3] == [made[3], made[2]]
    assert gather.in_bulk(rows, [made[1].pk, 10**30]) == {made[1].pk: made[1]}
    assert gather.each(rows, lambda part: part.count()) == {HOME: 5}
    assert gather.aggregate(Order.objects.all(), sum=Sum("price")) == {"sum": 10}
    assert gather.count(rows, partial=True) == (5, {})
    assert shards() == [HOME]


def test_writing_is_a_transaction(ada):
    with writing([ada.bucket, 5, 1000], alone=True) as alias:
        assert alias == HOME and connections[alias].in_atomic_block
    seen = []
    write_rows(customers(3), lambda alias, rows: seen.append((alias, len(rows))))
    assert seen == [(HOME, 3)]


def test_claims():
    ada = Customer(name="Ada", email="Ada@clocks.example")
    claims.save(ada)
    with pytest.raises(claims.EmailTaken):
        claims.save(Customer(name="Eunice", email="ada@clocks.example"))
    assert claims.find("ada@clocks.example") == ada and Customer.objects.get() == ada
    call_command("reconcile", older_than=0, stdout=(said := StringIO()))
    assert "has them: 0. Addresses claimed for customers: 0." in said.getvalue()
    claims.delete(ada)
    assert not Customer.objects.exists()


@pytest.mark.django_db(databases=list(settings.DATABASES), transaction=True)
def test_a_claim_in_a_transaction():
    """In one database, a rollback undoes both. In two, it is refused, as on shards."""
    ada = Customer(name="Ada", email="ada@clocks.example")
    try:
        with transaction.atomic():
            claims.save(ada)
            assert EmailAddress.objects.exists() and Customer.objects.exists()
            raise ValueError
    except ValueError:
        assert HOME == "default"
    except RuntimeError:
        assert HOME != "default"
    assert not EmailAddress.objects.exists() and not Customer.objects.exists()
    claims.save(ada)
    ada.email = "a.l@clocks.example"
    claims.save(ada)
    assert EmailAddress.objects.get().email == ada.email
    claims.delete(ada)
    assert not EmailAddress.objects.exists() and not Customer.objects.exists()


@pytest.mark.django_db(databases=list(settings.DATABASES), transaction=True)
def test_a_claim_without_an_owner_is_undone_in_one_database(monkeypatch):
    ada = Customer(name="Ada", email="ada@clocks.example")
    monkeypatch.setattr(Customer, "save", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        claims.save(ada)
    assert EmailAddress.objects.exists() == (HOME != "default")


def test_the_pages(staff, product, ada):
    claims.save(ada)
    url = ada.get_absolute_url()
    assert staff.post(url, {"product": product.pk, "quantity": 3}).url == url
    assert "3 sold" in staff.get("/").content.decode()
    assert "£28.50 spent in 1 order" in (page := staff.get(url).content.decode())
    assert f"on {HOME}" in page
    response = staff.get("/customers/?q=AD")
    assert "1 customer found" in response.content.decode()
    assert sum(response.wsgi_request.query_log.counts.values()) == 4  # two of the user
    assert staff.get("/customers/?q=ada@clocks.example").url == url
    assert staff.get("/customers/5/").status_code == 404


INLINES = {"orders-TOTAL_FORMS": 1, "orders-INITIAL_FORMS": 0}


def test_the_admin(staff, product, django_capture_on_commit_callbacks):
    order = {"orders-0-product_id": product.pk, "orders-0-quantity": 2, "orders-0-price": 1}
    data = {"name": "Ada", "email": "ada@clocks.example", **INLINES, **order}
    assert staff.post("/admin/customers/customer/add/", data).status_code == 302
    ada = Customer.objects.get()
    assert ada.orders.get().bucket == ada.bucket
    assert EmailAddress.objects.get().owner_id == ada.pk
    url = f"/admin/customers/customer/{ada.pk}/change/"
    assert staff.post(url, {**data, **INLINES, "name": "Ada L.", "orders-TOTAL_FORMS": 0}).url
    assert Customer.objects.get().name == "Ada L."
    page = staff.get("/admin/customers/customer/?q=ada&o=1").content.decode()
    assert "Ada L." in page and "By shard" not in page
    taken = staff.post("/admin/customers/customer/add/", data).content.decode()
    assert "Another customer has this address." in taken
    action = {"action": "delete_selected", "_selected_action": ada.pk, "post": "yes"}
    with django_capture_on_commit_callbacks(using=HOME, execute=True):
        staff.post("/admin/customers/customer/", action)
    assert not Customer.objects.exists() and not Order.objects.exists()
    assert not EmailAddress.objects.exists()


@pytest.mark.django_db(databases=list(settings.DATABASES), transaction=True)
def test_populate():
    call_command("populate", customers=50, stdout=(said := StringIO()))
    assert f"50 customers: {HOME} 50;" in said.getvalue()
    call_command("populate", customers=60)
    assert Customer.objects.count() == EmailAddress.objects.count() == 60
    assert all(order.bucket == order.customer.bucket for order in Order.objects.all())
    assert gather.count(Customer.objects.all()) == 60
    assert not scatter._threads  # gather needs no other connection


def test_the_commands_say_that_there_are_no_shards():
    for command in ("migrate_shards", "shard_status"):
        call_command(command, stdout=(said := StringIO()))
        assert said.getvalue() == (
            "There are no shards, because SHARDS is empty. All rows are in one database.\n"
        )
    with pytest.raises(CommandError, match="There are no shards, because SHARDS is empty."):
        call_command("reshard", to="shard0", buckets="0-9")


def test_dumpdata_and_loaddata(ada, tmp_path):
    file = tmp_path / "customers.json"
    call_command("dumpdata", "customers", database=HOME, output=file)
    Customer.objects.all().delete()
    call_command("loaddata", file, database=HOME, verbosity=0)
    assert Customer.objects.get() == ada
    (other,) = set(settings.DATABASES) - {HOME}
    if not router.allow_migrate_model(other, Customer):
        call_command("dumpdata", "customers", database=other, stdout=(dumped := StringIO()))
        assert json.loads(dumped.getvalue()) == []
        call_command("loaddata", file, database=other, verbosity=0)
    (row,) = serializers.deserialize("json", serializers.serialize("json", [ada]))
    row.save()


def test_models_that_can_not_be_sharded_are_no_error(monkeypatch):
    monkeypatch.setattr(checks, "models_of_sharded_apps", lambda: [User])
    assert checks.check_models() == []


def test_checks_and_migrations_find_nothing():
    found = run_checks(databases=list(settings.DATABASES))
    assert [message for message in found if message.id.startswith(("sharding", "directory"))] == []
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


@isolate_apps("customers")
def test_a_manager_of_the_project(ada):
    class Named(ShardedQuerySet):
        def named(self, name):
            return self.filter(name=name)

    class Friend(Sharded):
        id = KeyField()
        name = models.CharField(max_length=100)
        objects = ShardedManager.from_queryset(Named)()

        class Meta:
            app_label = "customers"
            db_table = "customers_customer"

    assert Friend.objects.named("Ada").get().pk == ada.pk


def test_an_order_without_a_customer_gets_no_key():
    with pytest.raises(ShardUnknown, match="Pass id= or customer="):
        Order.objects.create(product_id=1, price=1)
