import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import IntegrityError, connections

from products.models import Product
from reviews.joins import attach, attach_ratings
from reviews.models import Review

pytestmark = pytest.mark.django_db(databases=["default", "reviews"])


def test_the_migrations_are_those_of_the_models():
    call_command("makemigrations", check=True, dry_run=True)


@pytest.mark.parametrize("rating", [0, 6])
def test_the_database_refuses_a_rating_that_is_not_1_to_5(rating):
    with pytest.raises(IntegrityError):
        Review.objects.create(product_id=1, author_id=1, rating=rating, text="")


def test_rows_are_in_their_databases(review):
    assert "reviews_review" in connections["reviews"].introspection.table_names()
    assert "reviews_review" not in connections["default"].introspection.table_names()
    assert "products_product" not in connections["reviews"].introspection.table_names()
    assert Review.objects.using("reviews").get() == review


def test_attach(review, product, author):
    dangling = Review(product_id=0, author_id=0)
    attach([review, dangling], product=Product, author=User)
    assert (review.product, review.author) == (product, author)
    assert (dangling.product, dangling.author) == (None, None)


def test_attach_ratings(review, product):
    Review.objects.create(product_id=product.pk, author_id=1, rating=1, text="")
    unloved = Product(pk=product.pk + 1)
    attach_ratings([product, unloved])
    assert (product.review_count, product.mean_rating) == (2, 2.5)
    assert (unloved.review_count, unloved.mean_rating) == (0, None)
