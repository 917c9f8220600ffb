import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection

from listings.models import Listing
from products.models import Category, Product
from tests.marks import rows
from vendor.models import Article

pytestmark = pytest.mark.django_db(databases=["default", "production", "vendor"])

NEW = {"category_id": 1, "description": "Made here.", "price": "3.00"}


@pytest.fixture
def developer(client):
    client.force_login(User.objects.create_user("ada"))
    return client


def there(pk):
    return Product.objects.using("production").get(pk=pk)


def counts(response):
    """The queries of each alias, as the foot of the page has them."""
    return response.wsgi_request.query_log.counts


@rows
def test_each_product_says_where_it_is_from(client):
    Product.objects.filter(pk=2).update(price=1)
    page = client.get("/").content.decode()
    assert page.count("changed here") == 1
    assert page.count('<p class="facts">snapshot</p>') == 19
    product = Product.objects.create(code="N1", name="New egg timer", **NEW)
    page = client.get("/?page=3").content.decode()
    assert "New egg timer" in page and page.count("added here") == 1
    product.delete()
    assert "New egg timer" not in client.get("/?page=3").content.decode()


@pytest.mark.parametrize("changed", [1, 20])
def test_queries_of_the_list(client, changed):
    Product.objects.filter(pk__lte=changed).update(price=1)
    # A count, the page, its categories, and which of its rows are the overlay's, if there is one.
    assert counts(client.get("/")) == {"default": 3 + bool(settings.OVERLAID)}


@rows
def test_a_price_is_changed_here_and_untouched_there(developer):
    before = there(5).price
    url = "/products/5/"
    form = {"name": "Sundial", "description": "Not for use after dark.", "price": "1.25"}
    assert developer.post(url, form).url == url
    assert str(Product.objects.get(pk=5).price) == "1.25"
    assert there(5).price == before
    page = developer.get(url).content.decode()
    assert "<b>£1.25</b>" in page and f"<b>£{before}</b>" in page


@rows
def test_a_product_added_here(client):
    product = Product.objects.create(code="N1", name="New egg timer", **NEW)
    page = client.get(product.get_absolute_url()).content.decode()
    assert "not there: this product was added here" in page and "No reviews here." in page


def test_a_wrong_price(developer):
    response = developer.post("/products/5/", {"name": "", "description": "x", "price": "much"})
    assert set(response.context["form"].errors) == {"name", "price"}
    assert response.context["product"].name == there(5).name


@pytest.mark.parametrize("url", ["/products/5/", "/differences/", "/articles/A0000002/"])
def test_changing_needs_a_login(client, url):
    response = client.post(url, {"name": "X", "description": "X", "price": "1"})
    assert (response.status_code, response.url) == (302, f"/accounts/login/?next={url}")
    assert Product.objects.get(pk=5).price == there(5).price


@pytest.mark.parametrize("url", ["/products/0/", f"/products/{10**30}/", "/articles/X1/"])
def test_what_there_is_not(client, url):
    assert client.get(url).status_code == 404


@pytest.fixture
def differences():
    Product.objects.filter(pk=2).update(price=1)
    category = Category.objects.create(name="atomic clock")
    return category


@rows
def test_the_differences(developer, differences):
    page = developer.get("/differences/").content.decode()
    assert "Product 2: changed" in page and f"<del>{there(2).price}</del> <ins>1.00</ins>" in page
    assert f"Category {differences.pk}: added" in page and "<ins>atomic clock</ins>" in page


@rows
def test_a_row_that_was_deleted_here(developer):
    listing = Listing.objects.first()
    Listing.objects.filter(pk=listing.pk).delete()
    page = developer.get("/differences/").content.decode()
    assert f"Listing {listing.pk}: deleted" in page
    developer.post("/differences/", {"model": "listings.Listing", "key": listing.pk})
    assert Listing.objects.filter(pk=listing.pk).exists()


@rows
def test_discarding_one(developer, differences):
    Product.objects.filter(pk=3).update(price=1)
    assert (
        developer.post("/differences/", {"model": "products.Product", "key": 2}).status_code == 302
    )
    assert Product.objects.get(pk=2).price == there(2).price
    assert Product.objects.get(pk=3).price == 1
    assert Category.objects.filter(name="atomic clock").exists()


@rows
def test_keeping_what_conflicts(developer, differences):
    with connection.cursor() as cursor:  # as if it had been changed when the snapshot was older
        cursor.execute('UPDATE main.overlay_products_product SET "base:price" = 0 WHERE id = 2')
    page = developer.get("/differences/").content.decode()
    assert "<strong>Conflict</strong>: changed in the newer snapshot." in page
    assert page.count(">Keep<") == 1
    developer.post("/differences/", {"model": "products.Product", "key": 2, "keep": ""})
    page = developer.get("/differences/").content.decode()
    assert "Product 2: changed" in page and "Conflict" not in page
    assert Product.objects.get(pk=2).price == 1


@rows
def test_discarding_all(developer, differences):
    developer.post("/differences/")
    assert "No row differs from the snapshot." in developer.get("/differences/").content.decode()
    assert not Category.objects.filter(name="atomic clock").exists()


@pytest.mark.parametrize(
    "data",
    [
        {"model": "products.Clock"},
        {"model": "Product"},
        {"model": "reviews.Review"},
        {"model": "products.Product", "key": "two"},
    ],
)
def test_discarding_what_there_is_not(developer, data):
    assert developer.post("/differences/", data).status_code == 404


def test_the_catalogue(client):
    response = client.get("/articles/?q=size&in_stock=on&featured=on&order=-listing__price")
    articles = response.context["page"].object_list
    assert articles and all(a.listing.featured and "size" in a.name for a in articles)
    prices = [article.listing.price for article in articles]
    assert prices == sorted(prices, reverse=True)


def test_the_catalogue_with_a_wrong_order(client):
    assert client.get("/articles/?order=secret").status_code == 200


def test_the_catalogue_names_what_vanished(client):
    Listing.objects.create(article_number="X0000001")
    assert "X0000001" in client.get("/articles/").content.decode()


def test_our_part_of_an_article(developer):
    listed = Listing.objects.values_list("article_number", flat=True)
    article = Article.objects.exclude(pk__in=list(listed)).first()
    before = Article.objects.values().get(pk=article.pk)
    url = f"/articles/{article.pk}/"
    assert developer.post(url, {"price": "2.50", "blurb": "Fits all."}).status_code == 302
    page = developer.get(url).content.decode()
    assert "Fits all." in page and article.name in page
    assert Article.objects.values().get(pk=article.pk) == before
    listing = Listing.objects.get(article_number=article.pk)
    assert not Listing.objects.using("production").filter(pk=listing.pk).exists()
