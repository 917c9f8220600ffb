from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

from django.conf import settings
from django.core.management import BaseCommand, CommandError
from tqdm import tqdm

from customers.models import Customer, Order
from listings.models import Listing
from products.models import Category, Product
from reviews.models import Review
from shop.errors import database_errors_in_one_line
from vendor.models import Article

BATCH = 5_000  # rows in a transaction, and in memory
OPENING_DAY = datetime(2025, 1, 1, tzinfo=UTC)

FIRST_NAMES = [
    "Ada", "Ahmad", "Christiaan", "Eunice", "Galileo", "Ismail", "Jeanne", "John", "Leonor",
    "Margaret", "Sanford", "Su", "Thomas",
]  # fmt: skip
LAST_NAMES = [
    "Al-Jazari", "Arnold", "Breguet", "Fleming", "Harrison", "Hooke", "Huygens", "Lovelace",
    "Mudge", "Pendleton", "Song", "Tompion", "Winnerl", "Zacharias",
]  # fmt: skip

MANNERS = [
    ("Punctual", "Arrives before you do."),
    ("Approximate", "Right to within a season."),
    ("Patient", "Waits for you to look."),
    ("Overwound", "Needs a holiday."),
    ("Second-hand", "With its hour and minute hands too."),
    ("Unhurried", "Takes 61 seconds to the minute."),
    ("Leap-year", "Rests on 29 February."),
    ("Borrowed", "Lent time, at fair interest."),
    ("Diplomatic", "Agrees with every other clock."),
    ("Eventually consistent", "Shows the time it was told last."),
]
CLOCKS = [
    ("carriage clock", "Carriage not included."),
    ("cuckoo clock", "The bird is replicated."),
    ("grandfather clock", "Grandfather not included."),
    ("hourglass", "Sold by the grain."),
    ("sundial", "Not for use after dark."),
    ("water clock", "Please mind the puddle."),
    ("pocket watch", "Fits most pockets."),
    ("alarm clock", "It is not alarmed; you are."),
    ("station clock", "Five minutes slow, for the trains."),
    ("egg timer", "Egg not included."),
    ("metronome", "Has an opinion about your tempo."),
]
OPINIONS = {
    1: ["It has stopped. So have I.", "Told me the time once, in confidence."],
    2: ["Right twice a day, which is less than I paid for.", "Ticks. Does not tock."],
    3: ["It passes the time.", "My other clock disagrees, and I believe neither."],
    4: ["Very good; one star less for the cuckoo.", "I am hardly ever late now."],
    5: ["I set the radio by it.", "The neighbours have stopped asking me the time."],
}


def make_product(number, seed, category_ids):
    manner, habit = MANNERS[number % len(MANNERS)]
    clock, warning = CLOCKS[number % len(CLOCKS)]
    cents = Random(f"{seed} product {number}").randrange(500, 50_000)
    return Product(
        category_id=category_ids[clock],
        code=f"C{number:06}",
        name=f"{manner} {clock}",
        description=f"{habit} {warning}",
        price=Decimal(cents) / 100,
    )


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


def create_up_to(model, wanted, make):
    """Create ``make(number)`` for each number from those that are there up to ``wanted``."""
    there = model.objects.count()
    name = model._meta.verbose_name
    with tqdm(total=max(there, wanted), initial=there, unit=name, disable=None) as bar:
        for start in range(there, wanted, BATCH):
            batch = [make(number) for number in range(start, min(start + BATCH, wanted))]
            model.objects.bulk_create(batch)
            bar.update(len(batch))


def keys(model):
    return list(model.objects.order_by("pk").values_list("pk", flat=True))


class Command(BaseCommand):
    help = (
        "Fill production up to a number of products, customers and reviews; each customer has two "
        "orders. Running it again adds nothing."
    )

    def add_arguments(self, parser):
        # Not type=int: argparse would answer a wrong number with its usage and exit status 2.
        parser.add_argument("--products", default=100, help="how many there shall be (100)")
        parser.add_argument("--customers", default=200, help="how many there shall be (200)")
        parser.add_argument("--reviews", default=1000, help="how many there shall be (1000)")
        parser.add_argument("--seed", default=0, help="another seed, another shop (0)")

    def handle(self, **options):
        products, customers, reviews, seed = (
            self.whole_number(name, options[name])
            for name in ("products", "customers", "reviews", "seed")
        )
        if "production" in settings.DATABASES:
            raise CommandError(
                "Production is to be filled, and these settings have a snapshot of it. "
                "Run: python manage.py populate --settings=shop.live"
            )
        with database_errors_in_one_line(Product, Customer, Review, Listing):
            if (customers or reviews) and not (products or Product.objects.exists()):
                raise CommandError("Customers and reviews need a product: ask for one or more.")
            if reviews and not (customers or Customer.objects.exists()):
                raise CommandError("Reviews need a customer: ask for --customers 1 or more.")
            Category.objects.bulk_create(
                [Category(name=clock) for clock, _ in CLOCKS],
                ignore_conflicts=True,  # those that are there already
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
        if not settings.VENDOR.exists() or Listing.objects.exists():
            return
        articles = Article.objects.order_by("number")[::3]
        Listing.objects.bulk_create(
            Listing(
                article_number=article.number,
                price=Decimal(article.cents * 2) / 100,
                blurb=f"{article.name}, as our own watchmaker uses it.",
                featured=number % 10 == 0,
            )
            for number, article in enumerate(articles)
        )

    def whole_number(self, name, value):
        try:
            number = int(value)
        except ValueError:
            number = -1
        if number < 0:
            raise CommandError(f"--{name} must be a whole number, 0 or more, not {value!r}.")
        return number
