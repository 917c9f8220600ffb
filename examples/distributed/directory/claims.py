"""Unique across shards: an e-mail address is claimed in ``default``, and then used on a shard.

No transaction spans the two databases. A crash between them can leave a claim without an owner,
but never two owners with one address. The command ``reconcile`` removes such a claim. Code that
compares a claim with its owner to change one of them first locks the owner's bucket, by
``writing(…, alone=True)``. So ``reconcile`` and a slow ``save()`` can't both use the same claim.
"""

from contextlib import ExitStack

from django.apps import apps
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, IntegrityError, connections, transaction
from django.utils import timezone

from directory.models import EmailAddress
from sharding.buckets import shards
from sharding.fields import bucket_of_row
from sharding.writing import writing


class EmailTaken(Exception):
    """The address belongs to another owner."""


class ClaimLost(Exception):
    """The claim was removed while the owner was being saved."""


def owner_model():
    """Return the sharded model that ``DIRECTORY_OWNER`` names: it has a field ``email``."""
    return apps.get_model(settings.DIRECTORY_OWNER)


def normalised(email):
    return email.strip().lower()


def claim(email, owner):
    """Claim the address for this owner, or raise ``EmailTaken``.

    The claim is committed at once. So in a transaction on ``default`` this raises ``RuntimeError``.
    If ``SHARDS`` is empty, and owners are in ``default`` too, a transaction is right.
    """
    email = normalised(email)
    claims = EmailAddress.objects.filter(email=email)
    taken = EmailTaken(f"{email} belongs to another {owner._meta.verbose_name}.")
    # First a query. On a database without savepoints, an error would end the owner's transaction.
    if (by := claims.values_list("owner_id", flat=True).first()) == owner.pk:
        return
    if by is not None:
        raise taken
    try:
        durable = DEFAULT_DB_ALIAS not in shards()
        with transaction.atomic(using=DEFAULT_DB_ALIAS, durable=durable):
            EmailAddress.objects.create(email=email, owner_id=owner.pk, claimed=timezone.now())
    except IntegrityError:  # another process has claimed it since
        if (
            connections[DEFAULT_DB_ALIAS].needs_rollback
            or not claims.filter(owner_id=owner.pk).exists()
        ):
            raise taken from None
    except RuntimeError as error:  # Django's message doesn't say what to do
        raise RuntimeError(
            f'An address can\'t be claimed in a transaction on "{DEFAULT_DB_ALIAS}", because a '
            "rollback would remove the claim. Call this outside of atomic(). With ATOMIC_REQUESTS, "
            f'the view needs @transaction.non_atomic_requests(using="{DEFAULT_DB_ALIAS}").'
        ) from error


def save(owner):
    """Save an owner, new or changed, with an address that no other owner has.

    In a transaction on ``default``, or a view with ``ATOMIC_REQUESTS``, this raises
    ``RuntimeError``: a rollback would release the address, while the owner on the shard keeps it.
    If ``SHARDS`` is empty, and owners are in ``default`` too, a rollback undoes both.
    """
    owner.give_key()
    with ExitStack() as stack:
        if DEFAULT_DB_ALIAS in shards():
            # One transaction, so that ``reconcile`` never finds the claim without its owner.
            stack.enter_context(transaction.atomic(using=DEFAULT_DB_ALIAS))
        claim(owner.email, owner)
        alias = stack.enter_context(writing([bucket_of_row(owner)], alone=True))
        mine = EmailAddress.objects.filter(owner_id=owner.pk)
        if not mine.filter(email=normalised(owner.email)).exists():
            raise ClaimLost(f"The claim on {owner.email} was removed meanwhile. Try again.")
        owner.save()
        release(mine.exclude(email=normalised(owner.email)), alias)


def delete(owner):
    """Delete an owner, with its cascade, and release the address."""
    with writing([bucket_of_row(owner)], alone=True) as alias:
        release(EmailAddress.objects.filter(owner_id=owner.pk), alias)
        owner.delete()


def release(addresses, alias):
    """Release these addresses when the transaction on the shard is committed."""
    transaction.on_commit(addresses.delete, using=alias)


def find(email):
    """Return the owner of this address, by one query to ``default`` and one to a shard.

    Raises the owner model's ``DoesNotExist``.
    """
    owners = owner_model()
    address = EmailAddress.objects.filter(email=normalised(email)).first()
    if address is None:
        raise owners.DoesNotExist(f"No {owners._meta.verbose_name} has the address {email}.")
    return owners.objects.get(pk=address.owner_id)


def mend(bucket, addresses=(), owners=()):
    """Correct the directory for some rows of one bucket.

    Takes keys of addresses and of owners. Returns how many addresses without an owner were
    released, how many were claimed for owners, and a list of owners whose address another owner
    has.
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
