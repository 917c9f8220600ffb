from collections import defaultdict
from datetime import UTC, datetime, timedelta
from zlib import crc32

from django.core.management import BaseCommand, CommandError
from django.db import connections, transaction
from django.utils.timezone import make_naive
from tqdm import tqdm

from customers.models import Customer, Order
from directory.models import EmailAddress
from products.models import Product
from sharding import gather
from sharding.buckets import alias_of
from sharding.bulk import insert
from sharding.errors import errors_in_one_line
from sharding.keys import BUCKETS, bucket_of, new_key, new_keys
from sharding.schema import check_all_migrated
from sharding.writing import writing
from shop.samples import FIRST_NAMES, LAST_NAMES, create_up_to, product, whole_number

BATCH = 20 * BUCKETS  # customers in memory at the same time
# Customer n is in bucket n * STEP % BUCKETS. So each bucket is used in turn, and is far from the
# bucket before (by the golden section). Even few customers are on all shards.
STEP = 633
BACK = pow(STEP, -1, BUCKETS)  # bucket b has customer b * BACK, and every BUCKETS-th after it
NINETY_DAYS = 90 * 24 * 60  # minutes
OPENING_DAY = datetime(2025, 1, 1, tzinfo=UTC)


def email_of(number):
    return f"customer{number}@clocks.example"


def dice(*throw):
    """Return a number below 2**32 that depends only on the arguments."""
    return crc32(repr(throw).encode())


class Rows:
    """The rows of a batch for one database, as tuples: model instances would be slower."""

    def __init__(self, alias):
        self.connection = connections[alias]
        self.by_model = defaultdict(list)  # parents before children
        self.opening_day = OPENING_DAY
        if not self.connection.features.supports_timezones:
            # Converting each time to the database's time zone would take a third of all time.
            self.opening_day = make_naive(OPENING_DAY, self.connection.timezone)

    def time(self, minutes):
        """Return a time, in minutes after the opening day, as the database takes it."""
        return self.connection.ops.adapt_datetimefield_value(
            self.opening_day + timedelta(minutes=minutes)
        )

    def add(self, model, *values):
        self.by_model[model].append(values)

    def add_customer(self, number, pk, email, seed, products):
        """Add a customer, and up to three orders."""
        chance = dice(seed, number)
        chance, first = divmod(chance, len(FIRST_NAMES))
        chance, last = divmod(chance, len(LAST_NAMES))
        name = f"{FIRST_NAMES[first]} {LAST_NAMES[last]}"
        self.add(Customer, pk, name, email, self.time(number))
        for key in new_keys(bucket_of(pk), chance % 4):
            chance = dice(seed, number, chance)
            chance, product = divmod(chance, len(products))
            chance, quantity = divmod(chance, 3)
            product_id, price = products[product]
            created = self.time(number + chance % NINETY_DAYS)
            self.add(Order, key, pk, product_id, quantity + 1, price, created)

    def insert(self):
        """Insert the rows, several times as fast as bulk_create() would."""
        for model, rows in self.by_model.items():
            insert(model, rows, self.connection.alias)


class Command(BaseCommand):
    help = "Fill the shop up to a number of customers, with orders. Running it again adds nothing."

    def add_arguments(self, parser):
        parser.add_argument("--products", default=100, help="how many to have in the end (100)")
        parser.add_argument("--customers", default=1000, help="how many to have in the end (1000)")
        parser.add_argument("--seed", default=0, help="another seed, another shop (0)")

    def handle(self, **options):
        products, customers, seed = (
            whole_number(name, options[name]) for name in ("products", "customers", "seed")
        )
        check_all_migrated()
        with errors_in_one_line():
            if customers and not products and not Product.objects.exists():
                raise CommandError("Orders need a product. Write --products 1 or more.")
            create_up_to(Product, products, lambda number: Product(**product(number, seed)))
            self.create_customers(customers, seed)
            counts = gather.each(Customer.objects.all(), lambda rows: rows.count())
            self.stdout.write(
                f"{Product.objects.count()} products; {sum(counts.values())} customers: "
                + ", ".join(f"{alias} {count}" for alias, count in counts.items())
                + f"; {gather.count(Order.objects.all())} orders."
            )

    def create_customers(self, wanted, seed):
        prices = Product._meta.get_field("price")
        products = [
            (pk, prices.get_db_prep_save(price, connections[alias_of(0)]))
            for pk, price in Product.objects.order_by("pk").values_list("pk", "price")
        ]
        there = gather.count(Customer.objects.filter(email__endswith="@clocks.example"))
        with tqdm(
            total=max(there, wanted), initial=there, unit="customer", unit_scale=True, disable=None
        ) as bar:
            # A run may have been killed in this batch, so any of its rows may be there.
            start = there // BATCH * BATCH
            done = self.done(start)
            while there < wanted:
                numbers = range(start, min(start + BATCH, wanted))
                self.create_batch(numbers, seed, products, *done)
                start, done = numbers.stop, ({}, {})
                bar.update(start - there)
                there = start

    def done(self, start):
        """Return the claims of a batch, as a dict of keys by address, and their customers."""
        emails = [email_of(number) for number in range(start, start + BATCH)]
        claims = {}
        for part in range(0, len(emails), 900):
            claims |= EmailAddress.objects.filter(email__in=emails[part : part + 900]).values_list(
                "email", "owner_id"
            )
        return claims, gather.in_bulk(Customer.objects.all(), claims.values())

    def create_batch(self, numbers, seed, products, claims, customers):
        addresses = Rows("default")
        shards = defaultdict(set)
        for bucket in range(BUCKETS):
            shards[alias_of(bucket)].add(bucket)
        filled = []
        # Bucket by bucket, in the order of the keys and of the index.
        for alias, buckets in shards.items():
            rows = Rows(alias)
            for bucket in sorted(buckets):
                for number in numbers[(bucket * BACK - numbers.start) % BUCKETS :: BUCKETS]:
                    email = email_of(number)
                    pk = claims.get(email)
                    if pk is None:
                        pk = new_key(bucket)
                        addresses.add(EmailAddress, email, pk, addresses.time(number))
                    if pk not in customers:
                        rows.add_customer(number, pk, email, seed, products)
            filled.append((buckets, rows))
        with transaction.atomic(using="default"):
            addresses.insert()
        for buckets, rows in filled:
            with writing(buckets, rows.connection.alias):
                rows.insert()
