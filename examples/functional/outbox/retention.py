"""Delete what is no longer needed: old messages, and streams without messages."""

from datetime import timedelta

from django.db import connections, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from outbox import conf
from outbox.models import Message, Received, Stream

CHUNK = 1000  # rows in one transaction


def prune(source):
    """Delete messages that were delivered ``OUTBOX_KEEP_DAYS`` days ago. Return their number.

    A stream without messages is deleted too, and then its row in the database that receives.
    """
    before = timezone.now() - timedelta(days=conf.keep_days())
    old = Message.objects.using(source).filter(state=Message.State.DELIVERED, delivered__lt=before)
    total = 0
    while keys := list(old.values_list("pk", flat=True)[:CHUNK]):
        total += Message.objects.using(source).filter(pk__in=keys).delete()[0]
    if total:
        while prune_streams(source):
            pass
        for target in conf.targets():
            prune_received(source, target)
    return total


def prune_streams(source):
    """Delete at most ``CHUNK`` streams without messages. Return their number."""
    streams, messages = Stream.objects.using(source), Message.objects.using(source)
    with transaction.atomic(using=source):
        idle = streams.filter(~Exists(messages.filter(stream=OuterRef("pk"))))
        if connections[source].features.has_select_for_update_skip_locked:
            idle = idle.select_for_update(skip_locked=True)
        keys = set(idle.values_list("pk", flat=True)[:CHUNK])
        # A transaction may have sent a message between the query and the lock.
        keys -= set(messages.filter(stream__in=keys).values_list("stream", flat=True))
        return streams.filter(pk__in=keys).delete()[0]


def prune_received(source, target):
    """Delete the rows of streams that ``source`` no longer has. A new stream has a new key."""
    received = Received.objects.using(target).filter(source=source)
    last = -1
    while keys := list(
        received.filter(stream__gt=last).order_by("stream").values_list("stream", flat=True)[:CHUNK]
    ):
        last = keys[-1]
        known = Stream.objects.using(source).filter(pk__in=keys).values_list("pk", flat=True)
        received.filter(stream__in=set(keys) - set(known)).delete()
