"""Whole tables: their rows copied, a new column tried out, and relations to what isn't shadowed."""

import pytest
from django.db import connections
from django.db.utils import ConnectionRouter

from customers.models import Customer, Order
from products.models import Product
from reviews.models import Review
from tests.marks import joins, rows

all_databases = pytest.mark.django_db(databases=["default", "production"])


def test_the_rows_are_copied_as_they_are(shop):
    script = (
        "from reviews.models import Review;"
        "here, there = (list(Review.objects.using(alias).order_by('pk').values_list())"
        "               for alias in ('default', 'production'));"
        "print(len(there), here == there)"
    )
    assert shop.does("shell", "-v0", "-c", script) == "60 True\n"


def test_a_row_that_is_created_afterwards_has_a_key_of_its_own(shop):
    """On PostgreSQL, rows that bring their keys leave the sequence where it was."""
    create = (
        "from reviews.models import Review;"
        "print(Review.objects.create(product_id=1, author_id=1, rating=5, text='Ticks.').pk)"
    )
    assert shop.does("shell", "-v0", "-c", create) == "61\n"
    shop.does("shadow", "reviews.Review", "--replace")
    assert int(shop.does("shell", "-v0", "-c", create)) >= 61


def test_a_second_time_replaces_local_rows_only_when_told(shop):
    shop.does("shell", "-c", "from reviews.models import Review; Review.objects.update(rating=1)")
    process = shop("shadow", "reviews.Review")
    assert (process.returncode, process.stderr) == (
        1,
        "CommandError: reviews.Review already has local rows. To delete them first, add "
        "--replace.\n",
    )
    assert shop.query("local", "SELECT DISTINCT rating FROM reviews_review") == [(1,)]
    assert shop.does("shadow", "reviews.Review", "--replace") == "reviews.Review: 60 rows.\n"
    assert len(shop.query("local", "SELECT DISTINCT rating FROM reviews_review")) == 5


def try_out(shop, column):
    models = shop.folder / "reviews" / "models.py"
    text = "    text = models.TextField()\n"
    models.write_text(models.read_text().replace(text, text + f"    {column}\n"))


def test_a_new_column_tried_out(shop):
    """Migrations run on the local database alone; the rows of the snapshot get the default."""
    before = shop.contents("snapshot")
    try_out(shop, "helpful = models.PositiveIntegerField(default=3)")
    shop.does("makemigrations", "reviews")
    shop.does("migrate")
    assert shop.does("shadow", "reviews.Review", "--replace") == (
        "reviews.Review: 60 rows. Filled with the default: helpful.\n"
    )
    assert shop.query("local", "SELECT DISTINCT helpful FROM reviews_review") == [(3,)]
    assert shop.contents("snapshot") == before


def test_a_model_that_is_shadowed_later(shop):
    """Its migrations were noted as done when the router kept its tables out."""
    settings = shop.folder / "shop" / "settings.py"
    named = '"reviews.Review"]'
    settings.write_text(
        settings.read_text().replace(named, '"reviews.Review", "customers.Customer"]')
    )
    assert "has no table customers_customer" in shop("shadow", "customers.Customer").stderr
    shop.does("migrate", "--fake", "customers", "zero")
    shop.does("migrate", "customers")
    assert shop.does("shadow", "customers.Customer") == "customers.Customer: 20 rows.\n"
    script = (
        "from customers.models import *; print(Customer.objects.update(phone=None)); "
        "print(Order.objects.first().customer._state.db)"
    )
    assert shop.does("shell", "-v0", "-c", script) == "20\ndefault\n"


def test_a_new_column_without_a_default(shop):
    try_out(shop, "editor = models.ForeignKey('auth.User', models.CASCADE)")
    process = shop("shadow", "reviews.Review", "--replace")
    assert (process.returncode, process.stderr) == (
        1,
        "CommandError: reviews.Review.editor is not in the snapshot, and has no value for its "
        "rows. Give the field a default, or null=True.\n",
    )


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("reviews.Reviewed", "There is no model reviews.Reviewed."),
        ("Review", "There is no model Review."),
        ("customers.Customer", "customers.Customer is not shadowed: name it in SHADOWED."),
        pytest.param(
            "products.Product",
            "products.Product is not shadowed: name it in SHADOWED.",
            marks=rows,
        ),
    ],
)
def test_what_can_not_be_copied(shop, label, message):
    process = shop("shadow", label)
    assert (process.returncode, process.stderr) == (1, f"CommandError: {message}\n")


def test_without_a_local_table(shop):
    shop.lose("local")
    process = shop("shadow", "reviews.Review")
    assert (process.returncode, process.stderr) == (
        1,
        'CommandError: Database "default" has no table reviews_review. '
        "Run: python manage.py migrate --database=default\n",
    )


@all_databases
def test_related_lookups_cross_between_shadowed_and_unshadowed():
    review = Review.objects.first()
    assert (review._state.db, review.author._state.db) == ("default", "production")
    assert review in review.author.reviews.all()
    (again,) = Review.objects.filter(pk=review.pk).prefetch_related("author")
    assert again.author == review.author


@all_databases
@pytest.mark.parametrize(
    "router",
    [
        None,
        pytest.param(ConnectionRouter([]), marks=pytest.mark.xfail(strict=True, raises=ValueError)),
    ],
    ids=["ours", "django's"],
)
def test_a_customer_from_the_snapshot_writes_a_local_review(router, monkeypatch):
    """Django's own answer compares where the two were read from."""
    review, author = Review.objects.first(), Customer.objects.last()
    if router:
        monkeypatch.setattr("django.db.models.fields.related_descriptors.router", router)
    review.author = author
    review.save()
    assert Review.objects.get(pk=review.pk).author_id == author.pk


@joins
@all_databases
def test_a_join_from_the_snapshot_sees_the_snapshots_rows():
    """No error, and another answer: the customers' query joins the reviews that are there."""
    author = Customer.objects.filter(reviews__isnull=False).first()
    author.reviews.all().delete()
    assert author.reviews.count() == 0
    assert Customer.objects.filter(reviews__isnull=False, pk=author.pk).exists()
    # The local database has both in reach, the snapshot being attached.
    there = Customer.objects.using("default")
    assert not there.filter(reviews__isnull=False, pk=author.pk).exists()


@joins
@all_databases
def test_a_join_from_the_snapshot_sees_no_overlay():
    order = Order.objects.first()
    Product.objects.filter(pk=order.product_id).update(name="Renamed")
    assert Order.objects.get(pk=order.pk).product.name == "Renamed"
    joined = Order.objects.select_related("product")
    assert joined.get(pk=order.pk).product.name != "Renamed"
    assert joined.using("default").get(pk=order.pk).product.name == "Renamed"


@joins
@all_databases
def test_a_join_needs_the_snapshot_attached():
    """As on an engine that reaches into no other database."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT name FROM main.sqlite_master WHERE name = 'customers_customer'")
        assert cursor.fetchall() == []
    assert Review.objects.select_related("author").first().author.name.startswith("Customer ")
