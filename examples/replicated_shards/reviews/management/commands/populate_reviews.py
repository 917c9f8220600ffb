from datetime import UTC, datetime, timedelta
from random import Random

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.management import BaseCommand, CommandError

from products.models import Product
from reviews.models import Review
from shop.errors import database_errors_in_one_line
from shop.samples import AUTHORS, OPINIONS

REVIEWS = 1000


def make_review(number, product_ids, author_ids):
    random = Random(number)
    rating = random.randint(1, 5)
    return Review(
        product_id=random.choice(product_ids),
        author_id=random.choice(author_ids),
        rating=rating,
        text=random.choice(OPINIONS[rating]),
        created=datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=number),
    )


class Command(BaseCommand):
    help = f"Fill the shop up to {REVIEWS} reviews of its products. Run populate before."

    def handle(self, **options):
        with database_errors_in_one_line(User, Product, Review):
            product_ids = list(Product.objects.order_by("pk").values_list("pk", flat=True))
            if not product_ids:
                raise CommandError("Reviews need a product. Run: python manage.py populate")
            authors = User.objects.filter(username__in=AUTHORS).order_by("username")
            there = set(authors.values_list("username", flat=True))
            User.objects.bulk_create(
                User(username=name, password=make_password(None))
                for name in AUTHORS
                if name not in there
            )
            author_ids = list(authors.values_list("pk", flat=True))
            Review.objects.bulk_create(
                make_review(number, product_ids, author_ids)
                for number in range(Review.objects.count(), REVIEWS)
            )
            self.stdout.write(f"{Review.objects.count()} reviews by {len(author_ids)} authors.")
