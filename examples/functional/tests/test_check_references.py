import pytest
from django.core.management import CommandError, call_command

from reviews.management.commands.check_references import CHUNK
from reviews.models import Review

pytestmark = pytest.mark.django_db(databases=["default", "reviews"])


@pytest.fixture
def dangling(product, author):
    """Return the keys of six reviews that dangle. Between them is a chunk of valid reviews."""

    def create(product_id, author_id):
        return Review.objects.create(
            product_id=product_id, author_id=author_id, rating=3, text="Ticks."
        ).pk

    first = [create(0, author.pk), create(product.pk, 0), create(0, 0)]
    for _ in range(CHUNK):
        create(product.pk, author.pk)
    return first + [create(0, author.pk), create(product.pk, 0), create(0, 0)]


def test_when_all_is_well(review, capsys):
    call_command("check_references")
    assert capsys.readouterr().out == "All 1 reviews have their product and their author.\n"


def test_it_reports_reviews_that_dangle(dangling, capsys):
    with pytest.raises(CommandError) as error:
        call_command("check_references")
    assert str(error.value).startswith(f"6 of {CHUNK + 6} reviews refer to a product or an author")
    assert capsys.readouterr().out.splitlines() == [
        f"Review {dangling[0]}: no product 0",
        f"Review {dangling[1]}: no author 0",
        f"Review {dangling[2]}: no product 0 and author 0",
        f"Review {dangling[3]}: no product 0",
        f"Review {dangling[4]}: no author 0",
        "... and 1 more",
    ]
    assert Review.objects.count() == CHUNK + 6


def test_it_deletes_them_and_leaves_the_others(dangling, product, author, capsys):
    call_command("check_references", fix=True)
    assert capsys.readouterr().out.endswith(f"Deleted 6 of {CHUNK + 6} reviews.\n")
    assert Review.objects.filter(product_id=product.pk, author_id=author.pk).count() == CHUNK
    assert Review.objects.count() == CHUNK
    call_command("check_references")
