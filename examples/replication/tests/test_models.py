import pytest
from django.core.management import call_command
from django.db import IntegrityError

from reviews.models import Review

pytestmark = pytest.mark.django_db


def test_the_migrations_are_those_of_the_models():
    call_command("makemigrations", check=True, dry_run=True)


@pytest.mark.parametrize("rating", [0, 6])
def test_the_database_refuses_a_rating_that_is_not_1_to_5(rating, product, author):
    with pytest.raises(IntegrityError):
        Review.objects.create(product=product, author=author, rating=rating, text="")


def test_reviews_go_with_their_product(review, product):
    assert product.delete() == (2, {"products.Product": 1, "reviews.Review": 1})
