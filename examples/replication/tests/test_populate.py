import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from products.models import Product
from reviews.models import Review
from shop.samples import BATCH

pytestmark = pytest.mark.django_db


def shop():
    """Return the data without the primary keys, because the database chooses them."""
    names = dict(Product.objects.values_list("pk", "name"))
    authors = dict(User.objects.values_list("pk", "username"))
    products = list(Product.objects.order_by("pk").values_list("name", "description", "price"))
    reviews = Review.objects.order_by("pk")
    return products, [
        (names[r.product_id], authors[r.author_id], r.rating, r.text, r.created) for r in reviews
    ]


def fill_anew(**options):
    for model in (Review, Product, User):
        model.objects.all().delete()
    call_command("populate", **options)
    return shop()


def test_it_creates_what_was_asked_for(capsys):
    call_command("populate", products="30", reviews="200")
    assert capsys.readouterr().out == "30 products and 8 authors, 200 reviews.\n"
    assert (Product.objects.count(), Review.objects.count()) == (30, 200)
    assert {review.rating for review in Review.objects.all()} == {1, 2, 3, 4, 5}
    assert not any(user.has_usable_password() for user in User.objects.all())


def test_running_it_again_adds_nothing_and_with_less_deletes_nothing():
    before = fill_anew(products=30, reviews=200)
    call_command("populate", products=30, reviews=200)
    call_command("populate", products=3, reviews=2)
    assert shop() == before


def test_running_it_with_more_adds_what_is_missing():
    fill_anew(products=30, reviews=200)
    call_command("populate", products=30, reviews=BATCH + 1)
    assert shop() == fill_anew(products=30, reviews=BATCH + 1)


def test_the_seed_decides():
    products, reviews = fill_anew(products=30, reviews=200, seed=1)
    assert fill_anew(products=30, reviews=200, seed=1) == (products, reviews)
    other_products, other_reviews = fill_anew(products=30, reviews=200, seed=2)
    assert other_products != products and other_reviews != reviews


def test_customers_who_signed_up_do_not_become_authors():
    customer = User.objects.create(username="ada")
    call_command("populate", reviews=200)
    assert not Review.objects.filter(author_id=customer.pk).exists()


@pytest.mark.parametrize(
    ("option", "value"), [("products", "-1"), ("reviews", "ten"), ("seed", "1.5"), ("reviews", "")]
)
def test_a_number_that_is_wrong(option, value):
    with pytest.raises(CommandError) as error:
        call_command("populate", f"--{option}={value}")
    assert str(error.value) == f"--{option} must be a whole number, 0 or more, not {value!r}."


def test_reviews_need_a_product():
    with pytest.raises(CommandError, match="Use --products with 1 or more"):
        call_command("populate", products=0, reviews=1)
    call_command("populate", products=0, reviews=0)
    call_command("populate", products=1, reviews=0)
    call_command("populate", products=0, reviews=1)
    assert Review.objects.count() == 1
