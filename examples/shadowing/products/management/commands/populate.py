from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.db import DatabaseError

from customers.models import Customer, Order
from listings.models import Listing
from products.models import Category, Product
from reviews.models import Review
from shop.errors import database_errors_in_one_line
from shop.samples import (
    CLOCKS,
    FIRST_NAMES,
    LAST_NAMES,
    OPINIONS,
    create_up_to,
    product,
    whole_number,
)
from vendor.models import Article

OPENING_DAY = datetime(2025, 1, 1, tzinfo=UTC)


def make_product(number, seed, category_ids):
    clock, _ = CLOCKS[number % len(CLOCKS)]
    return Product(category_id=category_ids[clock], code=f"C{number:06}", **product(number, seed))


def make_customer(number, seed):
    random = Random(f"{seed} customer {number}")
    first, last = random.choice(FIRST_NAMES), random.choice(LAST_NAMES)
    return Customer(
        name=f"{first} {last}",
        email=f"{first}.{last}{number}@post.example".lower(),
        phone=f"+44 20 7946 {number:06}" if random.random() < 0.5 else None,
    )


def make_order(number, seed, customer_ids, product_ids):
    random = Random(f"{seed} order {number}")
    return Order(
        customer_id=random.choice(customer_ids),
        product_id=random.choice(product_ids),
        quantity=random.randint(1, 3),
        placed=OPENING_DAY + timedelta(minutes=number),
    )


def make_review(number, seed, customer_ids, product_ids):
    random = Random(f"{seed} review {number}")
    rating = random.randint(1, 5)
    return Review(
        author_id=random.choice(customer_ids),
        product_id=random.choice(product_ids),
        rating=rating,
        text=random.choice(OPINIONS[rating]),
        created=OPENING_DAY + timedelta(minutes=number),
    )


def keys(model):
    return list(model.objects.order_by("pk").values_list("pk", flat=True))


class Command(BaseCommand):
    help = (
        "Fill production with sample data, up to these numbers of products, customers and reviews. "
        "Each customer gets two orders. If you run it again, it adds nothing."
    )

    def add_arguments(self, parser):
        parser.add_argument("--products", default=100, help="how many there should be (100)")
        parser.add_argument("--customers", default=200, help="how many there should be (200)")
        parser.add_argument("--reviews", default=1000, help="how many there should be (1000)")
        parser.add_argument("--seed", default=0, help="another seed gives other rows (0)")

    def handle(self, **options):
        products, customers, reviews, seed = (
            whole_number(name, options[name])
            for name in ("products", "customers", "reviews", "seed")
        )
        if "production" in settings.DATABASES:
            raise CommandError(
                "This command fills production, but these settings only have a snapshot of it. "
                "Run: python manage.py populate --settings=shop.live"
            )
        with database_errors_in_one_line(Product, Customer, Review, Listing):
            if (customers or reviews) and not (products or Product.objects.exists()):
                raise CommandError(
                    "Customers and reviews need a product: ask for --products 1 or more."
                )
            if reviews and not (customers or Customer.objects.exists()):
                raise CommandError("Reviews need a customer: ask for --customers 1 or more.")
            there = set(Category.objects.values_list("name", flat=True))
            Category.objects.bulk_create(
                Category(name=clock) for clock, _ in CLOCKS if clock not in there
            )
            category_ids = dict(Category.objects.values_list("name", "pk"))
            create_up_to(Product, products, lambda n: make_product(n, seed, category_ids))
            create_up_to(Customer, customers, lambda n: make_customer(n, seed))
            both = keys(Customer), keys(Product)
            create_up_to(Order, 2 * customers, lambda n: make_order(n, seed, *both))
            create_up_to(Review, reviews, lambda n: make_review(n, seed, *both))
            self.list_articles()
            counts = [
                f"{model.objects.count()} {model._meta.verbose_name_plural}"
                for model in (Product, Customer, Order, Review, Listing)
            ]
        self.stdout.write(", ".join(counts) + ".")

    def list_articles(self):
        """List one in three of the supplier's articles, if the supplier has a catalogue."""
        try:
            articles = Article.objects.order_by("number")[::3]
        except DatabaseError:
            return  # the supplier has no catalogue yet
        if Listing.objects.exists():
            return
        Listing.objects.bulk_create(
            Listing(
                article_number=article.number,
                price=Decimal(article.cents * 2) / 100,
                blurb=f"{article.name}, as our own watchmaker uses it.",
                featured=number % 10 == 0,
            )
            for number, article in enumerate(articles)
        )
