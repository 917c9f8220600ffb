from datetime import timedelta

from django.core.management import BaseCommand, CommandError
from django.utils import timezone
from django.utils.text import capfirst
from tqdm import tqdm

from directory.claims import mend, normalised, owner_model
from directory.models import EmailAddress
from sharding import gather
from sharding.buckets import alias_of, in_buckets
from sharding.errors import errors_in_one_line
from sharding.keys import BUCKETS, bucket_of
from sharding.schema import check_all_migrated

CHUNK = 900  # keys in one query: some builds of SQLite accept no more than 999 parameters


def chunks(rows, key):
    """Yield lists of rows, in the order of ``key``, a unique field."""
    rows, last = rows.order_by(key), None
    while chunk := list((rows if last is None else rows.filter(**{f"{key}__gt": last}))[:CHUNK]):
        yield chunk
        last = getattr(chunk[-1], key)


def unused(addresses):
    """Return the addresses that no owner has, by bucket."""
    owners = gather.in_bulk(owner_model().objects.all(), {a.owner_id for a in addresses})
    found = {}
    for address in addresses:
        owner = owners.get(address.owner_id)
        if owner is None or normalised(owner.email) != address.email:
            found.setdefault(bucket_of(address.owner_id), []).append(address.pk)
    return found


def unclaimed(owners):
    """Return the keys of the owners whose address is not in the directory."""
    addresses = EmailAddress.objects.filter(pk__in={normalised(owner.email) for owner in owners})
    claimed = dict(addresses.values_list("email", "owner_id"))
    return [owner.pk for owner in owners if claimed.get(normalised(owner.email)) != owner.pk]


class Command(BaseCommand):
    help = (
        "Make the directory of e-mail addresses agree with the rows on the shards, after a crash "
        "between the two. The exit status is 1 if two rows have the same address."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--older-than",
            default=60,
            help="keep claims that are younger than this number of seconds, because a save may "
            "be about to use them (60)",
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
        owners = owner_model()
        one, many = owners._meta.verbose_name, owners._meta.verbose_name_plural
        check_all_migrated()
        with errors_in_one_line():
            addresses = EmailAddress.objects.filter(claimed__lte=before)
            total = addresses.count() + BUCKETS
            with tqdm(total=total, disable=None) as bar:
                for chunk in chunks(addresses, "email"):
                    for bucket, keys in unused(chunk).items():
                        released += mend(bucket, addresses=keys)[0]
                    bar.update(len(chunk))
                for bucket in range(BUCKETS):
                    rows = owners.objects.using(alias_of(bucket)).filter(in_buckets([bucket]))
                    for chunk in chunks(rows, "id"):
                        if keys := unclaimed(chunk):
                            _, more, taken = mend(bucket, owners=keys)
                            claimed += more
                            conflicts += taken
                    bar.update(1)
        self.stdout.write(
            f"Addresses released, because no {one} has them: {released}. "
            f"Addresses claimed for {many}: {claimed}."
        )
        for owner in conflicts[:5]:
            self.stdout.write(f"{capfirst(one)} {owner.pk}: {owner.email} belongs to another {one}")
        if conflicts:
            raise CommandError(
                f"{len(conflicts)} {many} have another {one}'s address. Change it in the admin."
            )
