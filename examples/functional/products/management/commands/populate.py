from datetime import UTC, datetime, timedelta
from random import Random

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.management import BaseCommand, CommandError

from products.models import Product
from reviews.models import Review
from shop.errors import database_errors_in_one_line
from shop.samples import AUTHORS, OPINIONS, create_up_to, product, whole_number


def make_review(number, seed, product_ids, author_ids):
    random = Random(f"{seed} review {number}")
    rating = random.randint(1, 5)
    return Review(
        product_id=random.choice(product_ids),
        author_id=random.choice(author_ids),
        rating=rating,
        text=random.choice(OPINIONS[rating]),
        created=datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=number),
    )


class Command(BaseCommand):
    help = "Create products and reviews up to the given numbers. A second run adds nothing."

    def add_arguments(self, parser):
        parser.add_argument("--products", default=100, help="their number (default: 100)")
        parser.add_argument("--reviews", default=1000, help="their number (default: 1000)")
        parser.add_argument("--seed", default=0, help="another seed makes other rows (default: 0)")

    def handle(self, **options):
        products, reviews, seed = (
            whole_number(name, options[name]) for name in ("products", "reviews", "seed")
        )
        with database_errors_in_one_line(User, Product, Review):
            if reviews and not products and not Product.objects.exists():
                raise CommandError("There is no product to review. Use --products with 1 or more.")
            create_up_to(Product, products, lambda number: Product(**product(number, seed)))
            authors = User.objects.filter(username__in=AUTHORS).order_by("username")
            there = set(authors.values_list("username", flat=True))
            User.objects.bulk_create(
                User(username=name, password=make_password(None))
                for name in AUTHORS
                if name not in there
            )
            product_ids = list(Product.objects.order_by("pk").values_list("pk", flat=True))
            author_ids = list(authors.values_list("pk", flat=True))
            create_up_to(
                Review, reviews, lambda number: make_review(number, seed, product_ids, author_ids)
            )
            self.stdout.write(
                f"{Product.objects.count()} products and {len(author_ids)} authors, "
                f"{Review.objects.count()} reviews."
            )
