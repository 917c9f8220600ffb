import pytest
from django.contrib.admin.models import LogEntry
from django.db import connections

from conftest import ALIASES, customer_on
from customers.models import Customer, Order
from directory import claims
from directory.models import EmailAddress
from sharding import buckets
from sharding.buckets import shard_map
from sharding.keys import bucket_of

pytestmark = pytest.mark.django_db(databases=ALIASES)

CUSTOMERS = "/admin/customers/customer/"


def form(name="Ada Lovelace", email="ada@clocks.example", orders=()):
    data = {
        "name": name,
        "email": email,
        "orders-TOTAL_FORMS": len(orders),
        "orders-INITIAL_FORMS": sum("id" in order for order in orders),
    }
    for n, order in enumerate(orders):
        data |= {f"orders-{n}-{field}": value for field, value in order.items()}
    return data


def names(response):
    return [customer.name for customer in response.context["cl"].result_list]


@pytest.mark.parametrize("rows", [1, 30])
def test_queries_of_the_list(admin_client, rows, monkeypatch):
    monkeypatch.setattr(buckets, "LEASE", 60)  # else it may ask whether the map has changed
    for n in range(rows * 4):
        customer_on(f"shard{n % 4}")
    shard_map()
    counts = admin_client.get(CUSTOMERS).wsgi_request.query_log.counts
    assert max(counts[f"shard{n}"] for n in range(4)) <= 4 and counts["default"] == 2


def test_the_list_has_a_chooser_of_one_shard_or_all(admin_client, customers):
    assert sorted(names(admin_client.get(CUSTOMERS))) == [f"Customer {n}" for n in range(4)]
    response = admin_client.get(f"{CUSTOMERS}?shard=shard2")
    assert names(response) == ["Customer 2"]
    assert set(response.wsgi_request.query_log.counts) == {"default", "shard2"}
    assert "?shard=shard3" in response.content.decode()


@pytest.mark.parametrize("shard", ["", "&shard=shard1"])
def test_the_pages_of_the_list_are_right(admin_client, shard):
    made = [customer_on(f"shard{n % 4}", f"Customer {n * 37 % 450:03}") for n in range(450)]
    wanted = sorted(c.name for c in made if not shard or c.shard == "shard1")
    found, page = [], 0
    while len(found) < len(wanted):
        page += 1
        found += names(admin_client.get(f"{CUSTOMERS}?o=1{shard}&p={page}"))
    assert found == wanted and page == (len(wanted) + 99) // 100


@pytest.mark.parametrize("order", ["", "?o=1", "?o=-1", "?o=2.-1", "?o=1&q=mer"])
def test_the_list_by_text_that_is_sorted_by_a_language(admin_client, customers, monkeypatch, order):
    """As a server's own mostly is. SQLite's NOCASE stands for it, and BINARY for the others' C."""
    if connections["shard0"].vendor == "sqlite":
        monkeypatch.setattr(Customer._meta.get_field("name"), "db_collation", "NOCASE")
    response = admin_client.get(f"{CUSTOMERS}{order}")
    assert response.status_code == 200 and len(names(response)) == 4
    if order in ("?o=1", "?o=-1"):
        assert names(response) == sorted(names(response), reverse=order == "?o=-1")


def test_showing_all(admin_client):
    for n in range(120):
        customer_on(f"shard{n % 4}")
    assert len(names(admin_client.get(f"{CUSTOMERS}?all="))) == 120


def test_facets_are_not_counted(admin_client, customers):
    assert sorted(names(admin_client.get(f"{CUSTOMERS}?_facets=True"))) == sorted(
        map(str, customers)
    )


def test_searching(admin_client, customers):
    assert names(admin_client.get(f'{CUSTOMERS}?q="mer 3"')) == ["Customer 3"]
    assert names(admin_client.get(f'{CUSTOMERS}?q="mer 3"&shard=shard1')) == []


def test_adding_a_customer_with_an_order(admin_client, product):
    assert admin_client.get(f"{CUSTOMERS}add/").status_code == 200
    order = {"product_id": product.pk, "quantity": 2, "price": "1.50"}
    response = admin_client.post(f"{CUSTOMERS}add/", form(orders=[order]))
    assert response.status_code == 302, response.context["errors"]
    customer = claims.find("ada@clocks.example")
    assert customer.orders.get().quantity == 2
    assert customer.orders.get().bucket == customer.bucket
    assert LogEntry.objects.get().object_id == str(customer.pk)


def test_changing_a_customer_and_orders(admin_client, product, django_capture_on_commit_callbacks):
    customer = Customer(name="Ada", email="ada@clocks.example")
    claims.save(customer)
    order = customer.orders.create(product_id=product.pk, price=1)
    url = f"{CUSTOMERS}{customer.pk}/change/"
    assert "ada@clocks.example" in admin_client.get(url).content.decode()
    orders = [
        {
            "id": order.pk,
            "customer": customer.pk,
            "product_id": product.pk,
            "quantity": 5,
            "price": 1,
        },
        {"customer": customer.pk, "product_id": product.pk, "quantity": 7, "price": 1},
    ]
    data = form("Eunice", "eunice@clocks.example", orders)
    with django_capture_on_commit_callbacks(using=customer.shard, execute=True):
        assert admin_client.post(url, data).status_code == 302
    customer.refresh_from_db()
    assert customer.name == "Eunice"
    assert sorted(customer.orders.values_list("quantity", flat=True)) == [5, 7]
    assert EmailAddress.objects.get().email == "eunice@clocks.example"
    assert admin_client.get(f"{CUSTOMERS}{customer.pk}/history/").status_code == 200


def test_an_address_that_is_anothers_is_an_error_of_the_field(admin_client):
    claims.save(Customer(name="Ada", email="ada@clocks.example"))
    response = admin_client.post(f"{CUSTOMERS}add/", form(email="ADA@clocks.example"))
    assert response.context["adminform"].form.errors == {
        "email": ["Another customer has this address."]
    }


def test_an_order_of_no_product_is_an_error_of_the_field(admin_client):
    order = {"product_id": 0, "quantity": 2, "price": "1.50"}
    response = admin_client.post(f"{CUSTOMERS}add/", form(orders=[order]))
    assert "There is no product 0." in response.content.decode()


def test_deleting_a_customer(admin_client, product, django_capture_on_commit_callbacks):
    customer = Customer(name="Ada", email="ada@clocks.example")
    claims.save(customer)
    order = customer.orders.create(product_id=product.pk, price=1)
    url = f"{CUSTOMERS}{customer.pk}/delete/"
    assert str(order) in admin_client.get(url).content.decode()
    with django_capture_on_commit_callbacks(using=customer.shard, execute=True):
        assert admin_client.post(url, {"post": "yes"}).status_code == 302
    assert not Customer.objects.filter(pk=customer.pk).exists()
    assert not Order.objects.filter(pk=order.pk).exists()
    assert not EmailAddress.objects.exists()


def test_deleting_the_selected_of_several_shards(admin_client, customers):
    some = customers[:3]
    data = {"action": "delete_selected", "_selected_action": [c.pk for c in some]}
    page = admin_client.post(CUSTOMERS, data).content.decode()
    assert all(c.name in page for c in some) and customers[3].name not in page
    response = admin_client.post(CUSTOMERS, {**data, "post": "yes"}, follow=True)
    assert "Successfully deleted 3 customers." in response.content.decode()
    assert names(admin_client.get(CUSTOMERS)) == ["Customer 3"]


@pytest.mark.parametrize("pk", [bucket_of(5), 2**60, "ten"])
def test_an_unknown_customer(admin_client, pk):
    response = admin_client.get(f"{CUSTOMERS}{pk}/change/", follow=True)
    assert "doesn’t exist. Perhaps it was deleted?" in response.content.decode()


def test_products(admin_client, product):
    assert admin_client.get("/admin/products/product/").status_code == 200
    url = f"/admin/products/product/{product.pk}/delete/"
    assert admin_client.post(url, {"post": "yes"}).status_code == 302
