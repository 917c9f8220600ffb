from itertools import islice

from django.contrib.auth.models import User
from django.core.management import BaseCommand, CommandError
from tqdm import tqdm

from products.models import Product
from reviews.models import Review
from shop.errors import database_errors_in_one_line

CHUNK = 900  # keys in one query: some builds of SQLite accept at most 999 parameters
SHOWN = 5


def missing(model, keys):
    return keys - set(model.objects.filter(pk__in=keys).values_list("pk", flat=True))


def dangling_reviews(reviews):
    """Yield ``(pk, missing rows)`` for each ``(pk, product_id, author_id)`` that dangles."""
    products = missing(Product, {product_id for _, product_id, _ in reviews})
    authors = missing(User, {author_id for _, _, author_id in reviews})
    for pk, product_id, author_id in reviews:
        gone = [f"product {product_id}"] if product_id in products else []
        gone += [f"author {author_id}"] if author_id in authors else []
        if gone:
            yield pk, " and ".join(gone)


def check_reviews(fix):
    """Return the number of reviews, the number that dangle, and the first few of these as a dict.

    With ``fix``, delete the reviews that dangle.
    """
    checked = found = last = 0
    examples = {}
    rows = Review.objects.order_by("pk").values_list("pk", "product_id", "author_id")
    with tqdm(total=rows.count(), unit="review", disable=None) as bar:
        # Read the reviews first, then the products and users. In the other order, a product that
        # is added and reviewed between the two queries would seem to be missing.
        while chunk := list(rows.filter(pk__gt=last)[:CHUNK]):
            dangling = dict(dangling_reviews(chunk))
            examples |= islice(dangling.items(), SHOWN - len(examples))
            if fix:
                Review.objects.filter(pk__in=dangling).delete()
            checked += len(chunk)
            found += len(dangling)
            last = chunk[-1][0]
            bar.update(len(chunk))
    return checked, found, examples


class Command(BaseCommand):
    help = (
        "Find reviews whose product or author does not exist. The exit status is 1 when there are "
        "such reviews, and 0 when there are none or when --fix has deleted them."
    )

    def add_arguments(self, parser):
        parser.add_argument("--fix", action="store_true", help="delete these reviews")

    def handle(self, *, fix, **options):
        with database_errors_in_one_line(User, Product, Review):
            checked, found, examples = check_reviews(fix)
        for pk, gone in examples.items():
            self.stdout.write(f"Review {pk}: no {gone}")
        if found > len(examples):
            self.stdout.write(f"... and {found - len(examples)} more")
        if fix:
            self.stdout.write(f"Deleted {found} of {checked} reviews.")
        elif found:
            raise CommandError(
                f"{found} of {checked} reviews refer to a product or an author that does not "
                "exist. To delete these reviews, use --fix."
            )
        else:
            self.stdout.write(f"All {checked} reviews have their product and their author.")
