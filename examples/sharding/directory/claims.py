"""Unique across shards: an e-mail address is claimed in ``default``, and then used on a shard.

No transaction spans the two databases. Of a crash between them there remains a claim that no owner
has use for, never two owners with one address; the command ``reconcile`` mends it. Whoever looks at
a claim and at its owner, to change either, does so alone in the owner's bucket, by
``writing()``: so the one who is mending and the one who is only slow don't both go on.
"""

from django.apps import apps
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, IntegrityError, transaction
from django.utils import timezone

from directory.models import EmailAddress
from sharding.fields import bucket_of_row
from sharding.writing import writing


class EmailTaken(Exception):
    """The address is another owner's."""


class ClaimLost(Exception):
    """It took so long that the claim was taken for one that a crash had left."""


def owner_model():
    """Return the sharded model that ``DIRECTORY_OWNER`` names: it has a field ``email``."""
    return apps.get_model(settings.DIRECTORY_OWNER)


def normalised(email):
    return email.strip().lower()


def claim(email, owner):
    """Make the address this owner's, or raise ``EmailTaken``.

    Commits at once. So it raises ``RuntimeError`` in a transaction on ``default``.
    """
    email = normalised(email)
    try:
        with transaction.atomic(using=DEFAULT_DB_ALIAS, durable=True):
            EmailAddress.objects.create(email=email, owner_id=owner.pk, claimed=timezone.now())
    except IntegrityError:
        if not EmailAddress.objects.filter(email=email, owner_id=owner.pk).exists():
            raise EmailTaken(f"{email} belongs to another {owner._meta.verbose_name}.") from None
    except RuntimeError as error:  # Django's own doesn't say what to do
        raise RuntimeError(
            f'An address can\'t be claimed in a transaction on "{DEFAULT_DB_ALIAS}", because a '
            "rollback would remove the claim. Call this outside of atomic(). With ATOMIC_REQUESTS, "
            f'the view needs @transaction.non_atomic_requests(using="{DEFAULT_DB_ALIAS}").'
        ) from error


def save(owner):
    """Save an owner, new or changed, with an address that nobody else has.

    Not in a transaction on ``default``, nor in a view under ``ATOMIC_REQUESTS``: if that was rolled
    back, it would free the address, and the owner on the shard would keep it. It raises
    ``RuntimeError`` there.
    """
    owner.give_key()
    claim(owner.email, owner)
    with writing([bucket_of_row(owner)], alone=True) as alias:
        mine = EmailAddress.objects.filter(owner_id=owner.pk)
        if not mine.filter(email=normalised(owner.email)).exists():
            raise ClaimLost(f"The claim on {owner.email} was removed meanwhile. Try again.")
        owner.save()
        release(mine.exclude(email=normalised(owner.email)), alias)


def delete(owner):
    """Delete an owner, with all that is in a cascade, and let others have the address."""
    with writing([bucket_of_row(owner)], alone=True) as alias:
        release(EmailAddress.objects.filter(owner_id=owner.pk), alias)
        owner.delete()


def release(addresses, alias):
    """Let others have these addresses, once the transaction on the shard is committed."""
    transaction.on_commit(addresses.delete, using=alias)


def find(email):
    """Return the owner of this address: one query to ``default``, one to a shard.

    Raises the owner's ``DoesNotExist``.
    """
    owners = owner_model()
    address = EmailAddress.objects.filter(email=normalised(email)).first()
    if address is None:
        raise owners.DoesNotExist(f"No {owners._meta.verbose_name} has the address {email}.")
    return owners.objects.get(pk=address.owner_id)


def mend(bucket, addresses=(), owners=()):
    """Make the directory true for some rows of one bucket, as they are now.

    Takes keys of addresses and of owners. Returns how many addresses nobody had use for, how many
    owners had not claimed theirs, and a list of those who can't, since it is another's.
    """
    released, claimed, conflicts = 0, 0, []
    with writing([bucket], alone=True) as alias:
        rows = owner_model().objects.using(alias)
        for address in EmailAddress.objects.filter(pk__in=addresses):
            owner = rows.filter(pk=address.owner_id).first()
            if owner is None or normalised(owner.email) != address.email:
                address.delete()
                released += 1
        for owner in rows.filter(pk__in=owners):
            try:
                claim(owner.email, owner)
                claimed += 1
            except EmailTaken:
                conflicts.append(owner)
    return released, claimed, conflicts
