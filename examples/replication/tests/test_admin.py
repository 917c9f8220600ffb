import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User

from products.models import Product
from reviews.models import Review

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "replica1", "replica2"]),
    pytest.mark.usefixtures("connected"),
]

REVIEWS = "/admin/reviews/review/"
PRODUCTS = "/admin/products/product/"


@pytest.mark.parametrize("rows", [3, 60])
def test_queries_of_the_list_of_reviews(admin_client, rows, settings):
    settings.REPLICAS = {"default": ["replica1"]}
    for n in range(rows):
        product = Product.objects.create(name=f"Clock {n}", description="", price=1)
        author = User.objects.create(username=f"author{n}")
        Review.objects.create(product=product, author=author, rating=3, text="Ticks.")
    response = admin_client.get(REVIEWS)
    assert response.content.decode().count("Clock ") == rows
    # Two queries for the session and the user, two counts, and one query for the reviews.
    assert response.wsgi_request.query_log.counts == {"default": 2, "replica1": 3}


def test_the_list_of_reviews_names_products_and_authors(admin_client, review):
    page = admin_client.get(REVIEWS).content.decode()
    assert "Patient sundial" in page and "huygens" in page


def test_searching_reviews(admin_client, review):
    assert review.text in admin_client.get(f"{REVIEWS}?q=tock").content.decode()
    assert review.text not in admin_client.get(f"{REVIEWS}?q=cuckoo").content.decode()


def test_adding_changing_and_deleting_a_review(admin_client, product, author):
    data = {"product": product.pk, "author": author.pk, "rating": 2, "text": "Stops."}
    assert admin_client.post(f"{REVIEWS}add/", data).status_code == 302
    review = Review.objects.get()
    assert (review.product, review.author, review.rating) == (product, author, 2)

    url = f"{REVIEWS}{review.pk}/change/"
    assert admin_client.get(url).status_code == 200
    assert admin_client.post(url, {**data, "rating": 4}).status_code == 302
    review.refresh_from_db()
    assert review.rating == 4

    url = f"{REVIEWS}{review.pk}/delete/"
    assert admin_client.get(url).status_code == 200
    assert admin_client.post(url, {"post": "yes"}).status_code == 302
    assert not Review.objects.exists()
    assert LogEntry.objects.count() == 3


def test_adding_changing_and_deleting_a_product(admin_client):
    data = {"name": "Borrowed egg timer", "description": "Egg not included.", "price": "3.00"}
    assert admin_client.post(f"{PRODUCTS}add/", data).status_code == 302
    product = Product.objects.get()

    assert "Borrowed" in admin_client.get(f"{PRODUCTS}?q=egg").content.decode()
    url = f"{PRODUCTS}{product.pk}/change/"
    assert admin_client.post(url, {**data, "price": "2.50"}).status_code == 302
    product.refresh_from_db()
    assert str(product.price) == "2.50"
