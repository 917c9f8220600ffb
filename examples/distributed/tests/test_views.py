"""The pages of the shop and the admin, which ask one database, and never a node."""

import pytest

from customers.models import Customer, Order
from directory import claims
from products.models import Product

# With Spider there are no savepoints, which the test's own transaction would need.
pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


@pytest.fixture
def customers(product):
    customers = [Customer(name=f"customer {n:02}", email=f"{n}@clocks.example") for n in range(25)]
    for n, customer in enumerate(customers):
        claims.save(customer)
        customer.orders.create(product_id=product.pk, quantity=n + 1, price=2)
    return customers


def counts(response):
    """The queries of each alias, as the foot of the page has them."""
    return response.wsgi_request.query_log.counts


def test_the_products(client, customers, product):
    response = client.get("/")
    assert set(counts(response)) == {"default"}
    assert "325 sold" in response.content.decode()
    assert "325 sold" in client.get(product.get_absolute_url()).content.decode()


def test_the_customers(staff, customers):
    response = staff.get("/customers/")
    assert set(counts(response)) == {"default"}
    assert response.context["page"].object_list == customers[:4:-1]
    assert "1 customer found" in staff.get("/customers/?q=OMER 07").content.decode()
    found = staff.get("/customers/?q=7@Clocks.example")
    assert found.url == customers[7].get_absolute_url()


def test_a_customer_orders(staff, customers, product):
    url = customers[3].get_absolute_url()
    assert staff.post(url, {"product": product.pk, "quantity": 3}).url == url
    page = staff.get(url).content.decode()
    assert "£36.50 spent in 2 orders" in page and "3 × Patient sundial, at £9.50" in page


def test_the_admin(admin_client, customers, product):
    url = "/admin/customers/customer/"
    response = admin_client.get(f"{url}?o=1&q=customer")
    assert response.status_code == 200 and set(counts(response)) == {"default"}
    assert [c.name for c in response.context["cl"].result_list][:2] == [
        "customer 00",
        "customer 01",
    ]
    form = {
        "name": "Ada",
        "email": "ada@clocks.example",
        "orders-TOTAL_FORMS": 1,
        "orders-INITIAL_FORMS": 0,
        "orders-0-product_id": product.pk,
        "orders-0-quantity": 2,
        "orders-0-price": 1,
    }
    assert admin_client.post(f"{url}add/", form).status_code == 302
    ada = claims.find("ada@clocks.example")
    assert ada.orders.get().quantity == 2
    taken = admin_client.post(f"{url}add/", form)
    assert taken.context["adminform"].form.errors == {
        "email": ["Another customer has this address."]
    }
    data = {
        "action": "delete_selected",
        "_selected_action": [c.pk for c in customers],
        "post": "yes",
    }
    response = admin_client.post(url, data, follow=True)
    assert "Successfully deleted 25 customers." in response.content.decode()
    assert (Customer.objects.count(), Order.objects.count()) == (1, 1)
    assert Product.objects.get() == product
