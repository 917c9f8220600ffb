from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connections

from conftest import ALIASES, customer_on
from customers.models import Customer, Order
from directory import claims
from products.models import Product
from sharding import buckets
from sharding.buckets import shard_map
from sharding.keys import new_key

pytestmark = pytest.mark.django_db(databases=ALIASES)

EACH_SHARD = {"shard0": 1, "shard1": 1, "shard2": 1, "shard3": 1}


@pytest.fixture(autouse=True)
def long_lease(monkeypatch):
    """No request here asks whether the map has changed: that would be one query more."""
    monkeypatch.setattr(buckets, "LEASE", 60)


@pytest.fixture
def staff(client):
    client.force_login(User.objects.create(username="clerk", is_staff=True))
    return client


def counts(response):
    """The queries of each alias, as the foot of the page has them."""
    return response.wsgi_request.query_log.counts


@pytest.mark.parametrize("rows", [3, 60])
def test_queries_of_the_list_of_products(client, customers, rows):
    for n in range(rows):
        product = Product.objects.create(name=f"Clock {n}", description="", price=1)
        customers[n % 4].orders.create(product_id=product.pk, price=1)
    response = client.get("/")
    assert counts(response) == {"default": 2, **EACH_SHARD}
    assert "6 queries: default 2, shard0 1, shard1 1" in response.content.decode()


def test_what_was_sold_of_a_product_is_added_up_over_the_shards(client, customers, product):
    for n, customer in enumerate(customers):
        customer.orders.create(product_id=product.pk, price=1, quantity=n + 1)
    assert "10 sold" in client.get("/").content.decode()
    assert "10 sold" in client.get(product.get_absolute_url()).content.decode()
    assert client.get("/products/0/").status_code == 404


@pytest.mark.parametrize("url", ["/customers/", "/customers/5/"])
def test_customers_are_for_the_staff(client, url):
    assert client.get(url).url == f"/accounts/login/?next={url}"


@pytest.mark.parametrize("rows", [1, 5])
def test_queries_of_the_list_of_customers(staff, rows):
    for n in range(rows * 4):
        customer_on(f"shard{n % 4}")
    shard_map()
    # The session and the user; a count and the rows.
    assert counts(staff.get("/customers/")) == {"default": 2} | dict.fromkeys(EACH_SHARD, 2)


def test_searching_a_name_asks_all_shards(staff, customers):
    page = staff.get("/customers/?q=OMER 2").content.decode()
    assert "1 customer found" in page and "Customer 2" in page and "on shard2" in page
    assert "Customer 1" not in page


def test_searching_an_address_asks_the_directory(staff):
    customer = Customer(name="Ada", email="ada@clocks.example")
    claims.save(customer)
    shard_map()
    response = staff.get("/customers/?q=Ada@clocks.example")
    assert response.url == customer.get_absolute_url()
    assert counts(response) == {"default": 3, customer.shard: 1}
    assert "0 customers found" in staff.get("/customers/?q=no@clocks.example").content.decode()


def test_the_pages_of_a_list_hold_each_customer_once_in_order(staff):
    made = [customer_on(f"shard{n * 7 % 4}", f"Customer {n:02}") for n in range(45)]
    found = []
    for number in (1, 2, 3):
        found += staff.get(f"/customers/?page={number}").context["page"].object_list
    assert found == made[::-1]


def test_a_shard_that_is_down_is_missing_in_the_list_and_the_page_says_so(staff, customers):
    def refuse(execute, sql, params, many, context):
        raise OperationalError("connection refused")

    with connections["shard2"].execute_wrapper(refuse):
        page = staff.get("/customers/").content.decode()
    assert "shard2 is unavailable: its customers are missing here. (connection refused)" in page
    assert "Customer 1" in page and "Customer 2" not in page


@pytest.mark.parametrize("rows", [1, 15])
def test_queries_of_a_customer(staff, rows):
    customer = customer_on("shard1")
    for n in range(rows):
        product = Product.objects.create(name=f"Clock {n}", description="", price=1)
        customer.orders.create(product_id=product.pk, price=1)
    shard_map()
    # The session, the user, two of products (of the orders, and to choose from); on the shard, the
    # customer, a count, the orders and what was spent.
    assert counts(staff.get(customer.get_absolute_url())) == {"default": 4, "shard1": 4}


def test_a_customer_with_orders(staff, product):
    customer = customer_on("shard3")
    customer.orders.create(product_id=product.pk, price="2.50", quantity=2)
    customer.orders.create(product_id=0, price=1)
    page = staff.get(customer.get_absolute_url()).content.decode()
    assert "£6.00 spent in 2 orders" in page and "on shard3" in page
    assert "2 × Patient sundial, at £2.50" in page and "1 × (deleted product)" in page


@pytest.mark.parametrize("pk", [0, new_key, 10**30])
def test_an_unknown_customer(staff, pk):
    pk = pk() if callable(pk) else pk
    assert staff.get(f"/customers/{pk}/").status_code == 404


def test_ordering(staff, product):
    customer = customer_on("shard1")
    url = customer.get_absolute_url()
    assert staff.post(url, {"product": product.pk, "quantity": 3}).url == url
    order = Order.objects.using("shard1").get()
    assert (order.product_id, order.price, order.quantity) == (product.pk, Decimal("9.50"), 3)
    assert order.bucket == customer.bucket


@pytest.mark.parametrize(("field", "value"), [("quantity", "0"), ("quantity", ""), ("product", 0)])
def test_a_wrong_order_is_shown_as_an_error(staff, product, field, value):
    customer = customer_on("shard1")
    data = {"product": product.pk, "quantity": 3, field: value}
    response = staff.post(customer.get_absolute_url(), data)
    assert response.status_code == 200 and list(response.context["form"].errors) == [field]
    assert not customer.orders.exists()
