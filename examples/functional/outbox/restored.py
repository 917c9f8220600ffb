"""After a restore from a backup: let two databases agree about which messages were applied."""

from collections import Counter

from django.db import transaction
from django.utils import timezone

from outbox import conf
from outbox.models import Message, Received, Stream

CHUNK = 1000  # streams in one query
State = Message.State


def reconcile(source, target):
    """Compare the streams of ``source`` with what ``target`` has applied, and make them agree.

    Nothing may be sent or delivered at the same time. Return numbers of messages, as a Counter:

    "again"
        are delivered again, because ``target`` was restored and does not have them;
    "lost"
        are missing in ``target``, and were already deleted from ``source``;
    "applied"
        were waiting in a restored ``source``, but ``target`` has them: they count as delivered;
    "renumbered"
        were sent after the restore of ``source``, with numbers that ``target`` has applied;
    "unknown"
        were applied in ``target``, but a restored ``source`` does not have them. Their data is
        missing in ``source``, so their effects have to be compared by hand.
    """
    found = Counter()
    streams = Stream.objects.using(source).filter(topic__in=conf.topics(target)).order_by("pk")
    last = -1
    while chunk := list(streams.filter(pk__gt=last)[:CHUNK]):
        last = chunk[-1].pk
        received = {
            row.stream: row
            for row in Received.objects.using(target).filter(
                source=source, stream__in=[stream.pk for stream in chunk]
            )
        }
        for stream in chunk:
            row = received.get(stream.pk) or Received(source=source, stream=stream.pk)
            found += reconcile_stream(stream, row, source, target)
    return found


def reconcile_stream(stream, row, source, target):
    messages = list(Message.objects.using(source).filter(stream=stream).order_by("number"))
    by_number = {message.number: message for message in messages}
    newest = by_number.get(row.number)
    if row.number and (row.number > stream.last or (newest and newest.uuid != row.message)):
        return after_restore_of_source(stream, row, messages, source)
    return after_restore_of_target(stream, row, messages, source, target)


def after_restore_of_target(stream, row, messages, source, target):
    """Deliver again what ``target`` has not applied, in order."""
    found = Counter()
    again = [m for m in messages if m.number > row.number and m.state == State.DELIVERED]
    first = min((m.number for m in messages if m.number > row.number), default=stream.last + 1)
    if lost := first - row.number - 1:
        found["lost"] = lost
        row.number, row.message, row.at = first - 1, None, timezone.now()
        row.save(using=target)
    aside = [m for m in messages if m.error.startswith("OutOfStep") and m.state == State.ASIDE]
    for message in [*again, *aside]:
        message.state, message.delivered, message.error, message.tries = State.WAITING, None, "", 0
        message.save(using=source)
    found["again"] = len(again)
    return +found


def after_restore_of_source(stream, row, messages, source):
    """Go on after the number that ``target`` has applied.

    A message that was sent before the restore is older than the row that ``target`` wrote last.
    """
    found = Counter()
    number = row.number
    moved = []
    with transaction.atomic(using=source):
        for message in messages:
            if message.state == State.DELIVERED:
                continue
            if message.created <= row.at and message.number <= row.number:
                message.state, message.delivered = State.DELIVERED, row.at
                found["applied"] += 1
                message.save(using=source)
            else:
                moved.append(message)
        highest = max([number, *(message.number for message in messages)])
        for offset in (highest, number):  # first out of the way: numbers are unique
            for place, message in enumerate(moved, 1):
                message.number, message.error, message.tries = offset + place, "", 0
                message.state = State.WAITING
                message.save(using=source)
        found["renumbered"] = len(moved)
        found["unknown"] = row.number - (stream.last - len(moved))
        stream.last = number + len(moved)
        stream.save(using=source)
    return +found
