import pytest

from customers.models import Customer
from listings.models import Listing
from products.models import Product
from reviews.models import Review
from tests.marks import joins, rows

pytestmark = pytest.mark.django_db(databases=["default", "production", "vendor"])

PRODUCTS = "/admin/products/product/"
LISTINGS = "/admin/listings/listing/"


@rows
@pytest.mark.parametrize("changed", [1, 20])
def test_the_list_of_products_says_where_each_is_from(admin_client, changed):
    Product.objects.filter(pk__lte=changed).update(price=1)
    response = admin_client.get(PRODUCTS)
    assert response.content.decode().count("overlay: changed") == changed
    # The session, the user, categories to filter by; two counts, the page, its categories, and
    # which of its rows are the overlay's.
    assert response.wsgi_request.query_log.counts == {"default": 8}


@joins  # of what refers to the product that is deleted
def test_adding_changing_and_deleting_a_product(admin_client):
    data = {"category": 1, "code": "N1", "name": "Egg timer", "description": "x", "price": "3"}
    assert admin_client.post(f"{PRODUCTS}add/", data).status_code == 302
    product = Product.objects.get(code="N1")
    url = f"{PRODUCTS}{product.pk}/change/"
    assert admin_client.post(url, {**data, "price": "2.50"}).status_code == 302
    product.refresh_from_db()
    assert str(product.price) == "2.50"
    url = f"{PRODUCTS}{product.pk}/delete/"
    assert admin_client.post(url, {"post": "yes"}).status_code == 302
    assert not Product.objects.filter(code="N1").exists()


def test_a_code_that_the_snapshot_has(admin_client):
    code = Product.objects.using("production").first().code
    data = {"category": 1, "code": code, "name": "Egg timer", "description": "x", "price": "3"}
    form = admin_client.post(f"{PRODUCTS}add/", data).context["adminform"].form
    assert form.errors == {"code": ["Product with this Code already exists."]}


@pytest.mark.parametrize("model", ["customers/customer", "customers/order", "vendor/article"])
def test_what_is_read_only_can_be_looked_at(admin_client, model):
    url = f"/admin/{model}/"
    assert admin_client.get(url).status_code == 200
    key = {"vendor/article": "A0000002"}.get(model, 1)
    page = admin_client.get(f"{url}{key}/change/")
    assert admin_client.post(f"{url}{key}/change/", {"name": "X"}).status_code == 403
    assert page.status_code == 200 and 'name="_save"' not in page.content.decode()
    assert admin_client.get(f"{url}add/").status_code == 403
    assert admin_client.post(f"{url}{key}/delete/", {"post": "yes"}).status_code == 403


def test_the_list_of_reviews_names_authors_from_the_snapshot(admin_client):
    response = admin_client.get("/admin/reviews/review/")
    assert response.content.decode().count(">Customer ") >= 40
    assert response.wsgi_request.query_log.counts["production"] == 1


def test_a_review_by_a_customer_of_the_snapshot(admin_client):
    author = Customer.objects.first()
    data = {"product": 1, "author": author.pk, "rating": 2, "text": "Stops."}
    assert admin_client.post("/admin/reviews/review/add/", data).status_code == 302
    assert Review.objects.latest("pk").author == author


def test_the_list_of_listings(admin_client):
    Listing.objects.create(article_number="X0000001")
    response = admin_client.get(LISTINGS)
    assert response.content.decode().count("(no longer in the catalogue)") == 1
    assert response.wsgi_request.query_log.counts["vendor"] == 1


def test_a_listing_of_an_article_that_there_is_not(admin_client):
    form = admin_client.post(f"{LISTINGS}add/", {"article_number": "X1"}).context["adminform"].form
    assert form.errors == {"article_number": ["The supplier has no article X1."]}
