from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.management import BaseCommand, CommandError
from tqdm import tqdm

from products.models import Product
from reviews.models import Review
from shop.errors import database_errors_in_one_line

BATCH = 5_000  # rows in a transaction, and in memory

AUTHORS = ["breguet", "galileo", "harrison", "hooke", "huygens", "mudge", "pendleton", "tompion"]

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


def make_product(number, seed):
    manner, habit = MANNERS[number % len(MANNERS)]
    clock, warning = CLOCKS[number % len(CLOCKS)]
    cents = Random(f"{seed} product {number}").randrange(500, 50_000)
    return Product(
        name=f"{manner} {clock}", description=f"{habit} {warning}", price=Decimal(cents) / 100
    )


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


def create_up_to(model, wanted, make):
    """Create ``make(number)`` for each number from those that are there up to ``wanted``."""
    there = model.objects.count()
    name = model._meta.verbose_name
    with tqdm(total=max(there, wanted), initial=there, unit=name, disable=None) as bar:
        for start in range(there, wanted, BATCH):
            batch = [make(number) for number in range(start, min(start + BATCH, wanted))]
            # A transaction on the model's own database. No primary keys are given: that would
            # leave a PostgreSQL sequence behind.
            model.objects.bulk_create(batch)
            bar.update(len(batch))


class Command(BaseCommand):
    help = "Fill the shop up to a number of products and of reviews. Running it again adds nothing."

    def add_arguments(self, parser):
        # Not type=int: argparse would answer a wrong number with its usage and exit status 2.
        parser.add_argument("--products", default=100, help="how many there shall be (100)")
        parser.add_argument("--reviews", default=1000, help="how many there shall be (1000)")
        parser.add_argument("--seed", default=0, help="another seed, another shop (0)")

    def handle(self, **options):
        products, reviews, seed = (
            self.whole_number(name, options[name]) for name in ("products", "reviews", "seed")
        )
        with database_errors_in_one_line(User, Product, Review):
            if reviews and not products and not Product.objects.exists():
                raise CommandError("Reviews need a product: ask for --products 1 or more.")
            create_up_to(Product, products, lambda number: make_product(number, seed))
            User.objects.bulk_create(
                [User(username=name, password=make_password(None)) for name in AUTHORS],
                ignore_conflicts=True,  # those that are there already
            )
            product_ids = list(Product.objects.order_by("pk").values_list("pk", flat=True))
            authors = User.objects.filter(username__in=AUTHORS).order_by("username")
            author_ids = list(authors.values_list("pk", flat=True))
            create_up_to(
                Review, reviews, lambda number: make_review(number, seed, product_ids, author_ids)
            )
            self.stdout.write(
                f"{Product.objects.count()} products and {len(author_ids)} authors, "
                f"{Review.objects.count()} reviews."
            )

    def whole_number(self, name, value):
        try:
            number = int(value)
        except ValueError:
            number = -1
        if number < 0:
            raise CommandError(f"--{name} must be a whole number, 0 or more, not {value!r}.")
        return number
