from datetime import timedelta

from django.core.management import BaseCommand, CommandError
from django.utils import timezone
from tqdm import tqdm

from customers.models import Customer
from directory.claims import mend, normalised
from directory.models import EmailAddress
from sharding import gather
from sharding.buckets import BUCKETS, alias_of, bucket_of, in_buckets
from sharding.errors import shard_errors_in_one_line

CHUNK = 900  # keys in one query: some builds of SQLite take no more than 999 parameters


def chunks(rows, key):
    """Yield lists of rows, in the order of ``key``, a unique field."""
    rows, last = rows.order_by(key), None
    while chunk := list((rows if last is None else rows.filter(**{f"{key}__gt": last}))[:CHUNK]):
        yield chunk
        last = getattr(chunk[-1], key)


def unused(addresses):
    """Return those of the addresses that no customer has, by bucket."""
    customers = gather.in_bulk(Customer.objects.all(), {a.customer_id for a in addresses})
    found = {}
    for address in addresses:
        customer = customers.get(address.customer_id)
        if customer is None or normalised(customer.email) != address.email:
            found.setdefault(bucket_of(address.customer_id), []).append(address.pk)
    return found


def unclaimed(customers):
    """Return the keys of those of the customers whose address the directory doesn't have."""
    owners = dict(
        EmailAddress.objects.filter(pk__in={normalised(c.email) for c in customers}).values_list(
            "email", "customer_id"
        )
    )
    return [c.pk for c in customers if owners.get(normalised(c.email)) != c.pk]


class Command(BaseCommand):
    help = (
        "Make the directory of e-mail addresses and the customers agree: what a crash has left "
        "between the two is mended. The exit status is 1 when two customers have one address."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--older-than",
            default=60,
            help="leave alone what was claimed less than so many seconds ago: a customer may be "
            "about to use it (60)",
        )

    def handle(self, *, older_than, **options):
        try:
            before = timezone.now() - timedelta(seconds=float(older_than))
        except (ValueError, OverflowError):
            raise CommandError(
                f"--older-than must be a number of seconds, not {older_than!r}."
            ) from None
        released = claimed = 0
        conflicts = []
        with shard_errors_in_one_line(EmailAddress):
            addresses = EmailAddress.objects.filter(claimed__lte=before)
            total = addresses.count() + BUCKETS
            with tqdm(total=total, disable=None) as bar:
                for chunk in chunks(addresses, "email"):
                    for bucket, keys in unused(chunk).items():
                        released += mend(bucket, addresses=keys)[0]
                    bar.update(len(chunk))
                for bucket in range(BUCKETS):
                    rows = Customer.objects.using(alias_of(bucket)).filter(in_buckets([bucket]))
                    for chunk in chunks(rows, "id"):
                        if keys := unclaimed(chunk):
                            _, more, taken = mend(bucket, customers=keys)
                            claimed += more
                            conflicts += taken
                    bar.update(1)
        self.stdout.write(
            f"{released} addresses released that no customer has, {claimed} claimed for customers."
        )
        for customer in conflicts[:5]:
            self.stdout.write(f"Customer {customer.pk}: {customer.email} is another customer's")
        if conflicts:
            raise CommandError(
                f"{len(conflicts)} customers have another's address: change it in the admin."
            )
