import pytest
from django.contrib.auth.models import User

from products.models import Product
from reviews.models import Review

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "replica1", "replica2"]),
    pytest.mark.usefixtures("connected"),
]


@pytest.fixture(autouse=True)
def one_replica(settings):
    """Use one replica only, so that the test knows which replica is chosen."""
    settings.REPLICAS = {"default": ["replica1"]}


def write_reviews(product, author, count):
    Review.objects.bulk_create(
        Review(product=product, author=author, rating=n % 5 + 1, text=f"Review {n}")
        for n in range(count)
    )


def counts(response):
    """Return the number of queries of each alias, as in the footer of the page."""
    return response.wsgi_request.query_log.counts


@pytest.mark.parametrize("rows", [3, 60])
def test_queries_of_the_list(client, author, rows):
    for n in range(rows):
        product = Product.objects.create(name=f"Clock {n}", description="", price=1)
        write_reviews(product, author, 2)
    assert counts(client.get("/")) == {"replica1": 2}
    client.force_login(author)
    assert counts(client.get("/")) == {"default": 2, "replica1": 2}  # + session, user


@pytest.mark.parametrize("rows", [3, 60])
def test_queries_of_a_product(client, product, rows):
    for n in range(rows):
        write_reviews(product, User.objects.create(username=f"author{n}"), 1)
    url = product.get_absolute_url()
    assert counts(client.get(url)) == {"replica1": 3}
    client.force_login(User.objects.get(username="author0"))
    assert counts(client.get(url)) == {"default": 2, "replica1": 3}


def test_the_list_shows_ratings(client, product, author):
    Product.objects.create(name="Unloved metronome", description="", price=1)
    write_reviews(product, author, 4)  # ratings 1, 2, 3 and 4
    page = client.get("/").content.decode()
    assert "2.5 of 5 in 4 reviews" in page
    assert page.count("no reviews yet") == 1


def test_the_list_has_pages_of_20(client):
    Product.objects.bulk_create(
        Product(name=f"Clock {n:02}", description="", price=1) for n in range(21)
    )
    first, last = client.get("/").content.decode(), client.get("/?page=2").content.decode()
    assert first.count("<article>") == 20 and '"?page=2"' in first
    assert last.count("<article>") == 1 and "Clock 20" in last


def test_a_product_shows_its_own_reviews_newest_first(client, review, product, author):
    other = Product.objects.create(name="Overwound hourglass", description="", price=1)
    write_reviews(other, author, 1)
    Review.objects.create(product=product, author=author, rating=5, text="Newer")
    page = client.get(product.get_absolute_url()).content.decode()
    assert page.count("<article>") == 2
    assert page.index("Newer") < page.index(review.text)
    assert "5 of 5, by huygens" in page and "4.5 of 5 in 2 reviews" in page


@pytest.mark.parametrize("pk", [0, 10**30])
def test_an_unknown_product(client, pk):
    assert client.get(f"/products/{pk}/").status_code == 404


def test_writing_a_review(client, product, author):
    client.force_login(author)
    url = product.get_absolute_url()
    response = client.post(url, {"rating": 5, "text": "I set the radio by it."})
    assert (response.status_code, response.url) == (302, url)
    review = Review.objects.get()
    assert (review.product, review.author) == (product, author)
    assert (review.rating, review.text) == (5, "I set the radio by it.")


def test_writing_a_review_needs_a_login(client, product):
    url = product.get_absolute_url()
    assert "Log in</a> to write one" in client.get(url).content.decode()
    response = client.post(url, {"rating": 5, "text": "Anonymous"})
    assert (response.status_code, response.url) == (302, f"/accounts/login/?next={url}")
    assert not Review.objects.exists()


@pytest.mark.parametrize("rating", ["6", "0", "ten", ""])
def test_a_wrong_rating_is_shown_as_an_error(client, product, author, rating):
    client.force_login(author)
    response = client.post(product.get_absolute_url(), {"rating": rating, "text": "Kept"})
    assert response.status_code == 200
    assert list(response.context["form"].errors) == ["rating"]
    page = response.content.decode()
    assert 'class="errorlist"' in page and "Kept" in page
    assert not Review.objects.exists()


def test_a_review_of_a_product_that_was_deleted_meanwhile(client, product, author):
    client.force_login(author)
    url = product.get_absolute_url()
    assert client.get(url).status_code == 200
    product.delete()
    assert client.post(url, {"rating": 5, "text": "Too late"}).status_code == 404
    assert not Review.objects.exists()


def test_logging_in_and_out(client, product):
    User.objects.create_user("mudge", password="lever escapement")
    url = product.get_absolute_url()
    login = f"/accounts/login/?next={url}"
    assert login in client.get(url).content.decode()
    assert "Log in" in client.get(login).content.decode()

    wrong = client.post(login, {"username": "mudge", "password": "verge escapement"})
    assert "errorlist" in wrong.content.decode()
    right = client.post(login, {"username": "mudge", "password": "lever escapement"})
    assert (right.status_code, right.url) == (302, url)
    assert "Log out mudge" in client.get(url).content.decode()

    assert client.post("/accounts/logout/").url == "/"
    assert "Log out" not in client.get(url).content.decode()
