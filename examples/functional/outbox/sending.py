"""Write a message, in the transaction that writes the data."""

from django.db import connections
from django.db.models import F
from django.db.transaction import TransactionManagementError

from outbox import conf
from outbox.models import Message, Stream


def send(topic, key, body, *, using):
    """Write a message into the outbox of the database ``using``. Return the message.

    ``topic`` is a key of ``OUTBOX_RECEIVERS``. Messages with the same ``topic`` and ``key`` are
    applied in the order of the COMMITs of their transactions. ``key`` is stored as a string.
    ``body`` is what JSON can hold, and dates, times, decimals and UUIDs, which become strings.

    Until the transaction ends, others that send with the same topic and key wait. Raises ValueError
    for a wrong argument, and TransactionManagementError without a transaction.
    """
    if topic not in conf.receivers():
        raise ValueError(f"OUTBOX_RECEIVERS has no topic {topic!r}.")
    if using not in conf.sources():
        raise ValueError(f"OUTBOX_SOURCES has no {using!r}.")
    key = str(key)
    if not 0 < len(key) <= 200:
        raise ValueError(f"A key has 1 to 200 characters, not {len(key)}.")
    # The transaction of a TestCase does not count, as for atomic(durable=True).
    if all(block._from_testcase for block in connections[using].atomic_blocks):
        raise TransactionManagementError(
            "send() needs the transaction that writes the data: "
            f'with transaction.atomic(using="{using}"): …'
        )
    streams = Stream.objects.using(using).filter(topic=topic, key=key)
    if not streams.update(last=F("last") + 1):
        create(Stream(topic=topic, key=key), using)
        streams.update(last=F("last") + 1)
    stream = streams.get()
    return Message.objects.using(using).create(
        stream=stream, number=stream.last, topic=topic, key=key, body=body
    )


def create(stream, using):
    """Insert the row of a stream, unless another transaction has inserted it.

    ``ignore_conflicts`` would be enough, but on MariaDB two transactions that wait for a third one
    would then get a deadlock.
    """
    has_target = connections[using].features.supports_update_conflicts_with_target
    Stream.objects.using(using).bulk_create(
        [stream],
        update_conflicts=True,
        update_fields=["topic"],
        unique_fields=["topic", "key"] if has_target else None,
    )
