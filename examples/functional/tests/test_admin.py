import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from products.models import Product
from reviews.models import Review

pytestmark = pytest.mark.django_db(databases=["default", "reviews"])

REVIEWS = "/admin/reviews/review/"
PRODUCTS = "/admin/products/product/"


@pytest.mark.parametrize("rows", [3, 60])
def test_queries_of_the_list_of_reviews(admin_client, rows):
    for n in range(rows):
        product = Product.objects.create(name=f"Clock {n}", description="", price=1)
        author = User.objects.create(username=f"author{n}")
        Review.objects.create(product_id=product.pk, author_id=author.pk, rating=3, text="Ticks.")
    response = admin_client.get(REVIEWS)
    assert response.content.decode().count("Clock ") == rows
    # The session, the user, products, authors; two counts, the page of reviews.
    assert response.wsgi_request.query_log.counts == {"default": 4, "reviews": 3}


def test_the_list_of_reviews_names_products_and_authors(admin_client, review):
    page = admin_client.get(REVIEWS).content.decode()
    assert "Patient sundial" in page and "huygens" in page


def test_the_list_of_reviews_says_what_is_gone(admin_client, review, product, author):
    product.delete()
    author.delete()
    page = admin_client.get(REVIEWS).content.decode()
    assert "(deleted product)" in page and "(deleted user)" in page


def test_searching_reviews(admin_client, review):
    assert review.text in admin_client.get(f"{REVIEWS}?q=tock").content.decode()
    assert review.text not in admin_client.get(f"{REVIEWS}?q=cuckoo").content.decode()


def test_adding_changing_and_deleting_a_review(admin_client, product, author):
    data = {"product_id": product.pk, "author_id": author.pk, "rating": 2, "text": "Stops."}
    assert admin_client.post(f"{REVIEWS}add/", data).status_code == 302
    review = Review.objects.get()
    assert (review.product_id, review.author_id, review.rating) == (product.pk, author.pk, 2)

    url = f"{REVIEWS}{review.pk}/change/"
    assert admin_client.get(url).status_code == 200
    assert admin_client.post(url, {**data, "rating": 4}).status_code == 302
    review.refresh_from_db()
    assert review.rating == 4

    url = f"{REVIEWS}{review.pk}/delete/"
    assert admin_client.get(url).status_code == 200
    assert admin_client.post(url, {"post": "yes"}).status_code == 302
    assert not Review.objects.exists()
    # The admin's log of changes to reviews is in default.
    assert LogEntry.objects.using("default").count() == 3


@pytest.mark.parametrize("key", ["product_id", "author_id"])
def test_a_review_of_nothing_or_by_nobody_is_an_error_of_the_field(
    admin_client, product, author, key
):
    data = {"product_id": product.pk, "author_id": author.pk, "rating": 2, "text": "Stops."}
    response = admin_client.post(f"{REVIEWS}add/", {**data, key: 999})
    noun = {"product_id": "product", "author_id": "user"}[key]
    form = response.context["adminform"].form
    assert form.errors == {key: [f"There is no {noun} 999."]}
    assert not Review.objects.exists()


def test_adding_changing_and_deleting_a_product(admin_client):
    data = {"name": "Borrowed egg timer", "description": "Egg not included.", "price": "3.00"}
    assert admin_client.post(f"{PRODUCTS}add/", data).status_code == 302
    product = Product.objects.get()

    assert "Borrowed" in admin_client.get(f"{PRODUCTS}?q=egg").content.decode()
    url = f"{PRODUCTS}{product.pk}/change/"
    assert admin_client.post(url, {**data, "price": "2.50"}).status_code == 302
    product.refresh_from_db()
    assert str(product.price) == "2.50"


def test_deleting_a_product_leaves_its_reviews(admin_client, review, product):
    url = f"{PRODUCTS}{product.pk}/delete/"
    assert admin_client.get(url).status_code == 200
    assert admin_client.post(url, {"post": "yes"}).status_code == 302
    assert not Product.objects.exists()
    assert Review.objects.get() == review


def test_permissions_for_reviews_are_in_default(client, review):
    """This clerk may only view reviews. The permission is in default, the review in reviews."""
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.using("default").get(codename="view_review"))
    client.force_login(clerk)
    assert client.get(REVIEWS).status_code == 200
    assert client.post(reverse("admin:reviews_review_delete", args=[review.pk])).status_code == 403
