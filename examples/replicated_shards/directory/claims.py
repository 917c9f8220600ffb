"""Unique across shards: an e-mail address is claimed in ``default``, and then used on a shard.

No transaction spans the two databases. Of a crash between them there remains a claim that no
customer has use for, never two customers with one address; ``reconcile()`` mends it. Whoever looks
at a claim and at its customer, to change either, does so in the transaction of the customer's
bucket, ``writing()``: so the one who is mending and the one who is only slow don't both go on.
"""

from django.db import IntegrityError, transaction
from django.utils import timezone

from customers.models import Customer
from directory.models import EmailAddress
from sharding.models import bucket_of_row, writing


class EmailTaken(Exception):
    """The address is another customer's."""


class ClaimLost(Exception):
    """It took so long that the claim was taken for one that a crash had left."""


def normalised(email):
    return email.strip().lower()


def claim(email, customer):
    """Make the address this customer's, or raise ``EmailTaken``."""
    email = normalised(email)
    try:
        with transaction.atomic(using="default"):
            EmailAddress.objects.create(
                email=email, customer_id=customer.pk, claimed=timezone.now()
            )
    except IntegrityError:
        if not EmailAddress.objects.filter(email=email, customer_id=customer.pk).exists():
            raise EmailTaken(f"{email} is another customer's.") from None


def save(customer):
    """Save a customer, new or changed, with an address that nobody else has."""
    customer.give_key()
    claim(customer.email, customer)
    with writing([bucket_of_row(customer)]) as alias:
        mine = EmailAddress.objects.filter(customer_id=customer.pk)
        if not mine.filter(email=normalised(customer.email)).exists():
            raise ClaimLost("Try again.")
        customer.save()
        release(mine.exclude(email=normalised(customer.email)), alias)


def delete(customer):
    """Delete a customer with all orders, and let others have the address."""
    with writing([bucket_of_row(customer)]) as alias:
        release(EmailAddress.objects.filter(customer_id=customer.pk), alias)
        customer.delete()


def release(addresses, alias):
    """Let others have these addresses, once the transaction on the shard is committed."""
    transaction.on_commit(addresses.delete, using=alias)


def find(email):
    """Return the customer with this address: one query to ``default``, one to a shard.

    Raises ``Customer.DoesNotExist``.
    """
    address = EmailAddress.objects.filter(email=normalised(email)).first()
    if address is None:
        raise Customer.DoesNotExist(f"Nobody has the address {email}.")
    return Customer.objects.get(pk=address.customer_id)


def mend(bucket, addresses=(), customers=()):
    """Make the directory true for some rows of one bucket, as they are now.

    Takes keys of addresses and of customers. Returns how many addresses nobody had use for, how
    many customers had not claimed theirs, and a list of those who can't, since it is another's.
    """
    released, claimed, conflicts = 0, 0, []
    with writing([bucket]) as alias:
        for address in EmailAddress.objects.filter(pk__in=addresses):
            owner = Customer.objects.using(alias).filter(pk=address.customer_id).first()
            if owner is None or normalised(owner.email) != address.email:
                address.delete()
                released += 1
        for customer in Customer.objects.using(alias).filter(pk__in=customers):
            try:
                claim(customer.email, customer)
                claimed += 1
            except EmailTaken:
                conflicts.append(customer)
    return released, claimed, conflicts
