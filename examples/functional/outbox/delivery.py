"""Bring messages to the databases that receive them: each once, and in order for each key."""

import logging
from collections import Counter
from contextlib import nullcontext
from datetime import timedelta

from django.db import Error as DatabaseError
from django.db import connections, transaction
from django.utils import timezone

from outbox import conf
from outbox.models import Message, Received

logger = logging.getLogger("outbox")

BATCH = 100  # messages in one transaction
WAITING, FAILING = Message.State.WAITING, Message.State.FAILING
ASIDE, DELIVERED = Message.State.ASIDE, Message.State.DELIVERED


class Unavailable(Exception):
    """A database can't be used now. No message is to blame, so none of them counts a try."""

    def __init__(self, alias, error):
        super().__init__(f"{alias} is unavailable: {' '.join(str(error).split())}")
        self.alias = alias


class OutOfStep(Exception):
    """The numbers of a stream differ in the two databases: one of them was restored."""


def deliver(source=None, limit=BATCH):
    """Deliver all messages that are due, from one source or from all. Return their number.

    Several processes may do this at the same time. Raises Unavailable.
    """
    total = 0
    for alias in [source] if source else conf.sources():
        for target in conf.targets():
            while outcome := deliver_batch(alias, target, limit):
                total += outcome["delivered"]
    return total


def deliver_batch(source, target, limit=BATCH):
    """Deliver at most ``limit`` messages, in one transaction. Raises Unavailable.

    Return how many were "delivered", "failed" (they are tried again later) or "set aside". The
    result is empty if no message is due. Raises RuntimeError inside a transaction. If that were
    rolled back, a message could be applied that was never sent, or delivered and not applied.
    """
    for alias in (source, target):
        # The transaction of a TestCase does not count, as for atomic(durable=True).
        if not all(block._from_testcase for block in connections[alias].atomic_blocks):
            raise RuntimeError(f"Deliver after the transaction on {alias}: call it in on_commit().")
    try:
        # Without such locks, two workers may take the same messages. `apply()` then applies them
        # only once. SQLite can't write to `source` at all while this block holds a transaction.
        locks = connections[source].features.has_select_for_update_skip_locked
        with transaction.atomic(using=source) if locks else nullcontext():
            messages = claim(source, target, limit)
            failures = attempt(messages, source, target) if messages else {}
            return record(messages, failures, source)
    except DatabaseError as error:
        is_lost(source)
        raise Unavailable(source, error) from error


def claim(source, target, limit):
    """Return messages that are due, and lock the first message of each of their streams.

    No other worker takes the messages of these streams until the end of the transaction. ``send()``
    does not wait for these locks. In a stream, a later message also has a higher ``id``.
    """
    messages = Message.objects.using(source).filter(topic__in=conf.topics(target))
    again = messages.filter(state=FAILING, next_try__lte=timezone.now())
    if claimed := list(locked(again, source).order_by("id")[:limit]):
        return claimed
    stopped = Message.objects.using(source).filter(state__in=[FAILING, ASIDE])
    waiting = messages.filter(state=WAITING).exclude(stream__in=stopped.values("stream"))
    # Look at the oldest messages first. Only if other workers have them all, look further.
    size, last, seen = limit, 0, set()
    while window := waiting.filter(id__gt=last).order_by("id").values_list("id", "stream")[:size]:
        first = {}
        for pk, stream in window:
            if stream not in seen:
                first.setdefault(stream, pk)
        heads = locked(messages.filter(pk__in=first.values(), state=WAITING), source)
        streams = {head.stream_id for head in heads.order_by("id")[:limit]}
        if streams:
            keys = [pk for pk, stream in window if stream in streams]
            return list(messages.filter(pk__in=keys[:limit]).order_by("id"))
        seen |= first.keys()
        size, last = 2 * size, window[len(window) - 1][0]
    return []


def locked(messages, source):
    """Lock the rows, but not those that another worker has locked, if the engine can do that."""
    if connections[source].features.has_select_for_update_skip_locked:
        return messages.select_for_update(skip_locked=True)
    return messages


def attempt(messages, source, target):
    """Apply messages, together if possible. Return ``{message: exception}`` for those that failed.

    The value is None for a message that has to wait for an earlier one. Raises Unavailable.
    """
    inside = connections[source].in_atomic_block
    try:
        # A receiver may read from the source. If its query fails, this block rolls back to here.
        with transaction.atomic(using=source) if inside else nullcontext():
            apply(messages, source, target)
        return {}
    except Unavailable:
        raise
    except Exception as error:
        if source != target and is_lost(target):
            raise Unavailable(target, error) from error
        if len(messages) == 1:
            return {messages[0]: error}
    # The transaction was rolled back. Now each message gets its own.
    failures, blocked = {}, set()
    for message in messages:
        if message.stream_id in blocked:
            failures[message] = None
        elif failed := attempt([message], source, target):
            failures |= failed
            blocked.add(message.stream_id)
    return failures


def is_lost(alias):
    """Return whether the connection is lost or was never made. The next query then connects."""
    connection = connections[alias]
    if connection.connection is not None and connection.is_usable():
        return False
    connection.close()
    return True


def apply(messages, source, target):
    """Call the receivers of messages, in one transaction on ``target``."""
    with transaction.atomic(using=target):
        streams = lock_streams({message.stream_id for message in messages}, source, target)
        for message in messages:
            stream = streams[message.stream_id]
            if message.number <= stream.number:
                check_is_applied(message, stream, source, target)
                continue
            if message.number > stream.number + 1:
                raise OutOfStep(
                    f"{target} has not applied number {stream.number + 1} of this key. "
                    f"After a restore of {target}, run: python manage.py outbox_reconcile"
                )
            if not message.skip:
                conf.receiver(message.topic)(message)
            stream.number, stream.message, stream.at = message.number, message.uuid, timezone.now()
        upsert(streams.values(), ["number", "message", "at"], target)


def lock_streams(keys, source, target):
    """Return ``{stream: Received}``. Until the end of the transaction no other worker gets them."""
    try:
        # This locks the rows, new and old. For SELECT … FOR UPDATE, MariaDB may lock all rows of
        # the source, and two workers then get a deadlock.
        upsert([Received(source=source, stream=key) for key in sorted(keys)], ["source"], target)
        found = Received.objects.using(target).filter(source=source, stream__in=keys)
        return {row.stream: row for row in found}
    except DatabaseError as error:
        raise Unavailable(target, error) from error


def upsert(rows, fields, target):
    """Insert rows of ``Received``. Of a stream that has a row already, update these fields."""
    has_target = connections[target].features.supports_update_conflicts_with_target
    Received.objects.using(target).bulk_create(
        [
            Received(source=r.source, stream=r.stream, number=r.number, message=r.message, at=r.at)
            for r in rows
        ],
        update_conflicts=True,
        update_fields=fields,
        unique_fields=["source", "stream"] if has_target else None,
    )


def check_is_applied(message, stream, source, target):
    """Check that ``stream`` has counted this message, and not another one with its number.

    That is so after a crash between two COMMITs, or if another worker was faster. Raises OutOfStep.
    """
    newest = Message.objects.using(source).filter(stream=message.stream_id, number=stream.number)
    if stream.message not in newest.values_list("uuid", flat=True):
        raise OutOfStep(
            f"{target} has applied another message with number {message.number} of this key. "
            f"After a restore of {source}, run: python manage.py outbox_reconcile"
        )


def record(messages, failures, source):
    """Write the outcome of each message into ``source``. Return the numbers as a Counter."""
    now, outcome = timezone.now(), Counter()
    rows = Message.objects.using(source)
    done = [message.pk for message in messages if message not in failures]
    if done:
        rows.filter(pk__in=done).update(state=DELIVERED, delivered=now, error="")
        outcome["delivered"] = len(done)
    for message, error in failures.items():
        if error is None:
            continue
        tries = message.tries + 1
        aside = tries >= conf.tries() or isinstance(error, OutOfStep)
        rows.filter(pk=message.pk).exclude(state=DELIVERED).update(
            tries=tries,
            state=ASIDE if aside else FAILING,
            next_try=now + timedelta(seconds=min(2**tries, 3600)),
            error=f"{type(error).__name__}: {error}"[:2000],
        )
        outcome["set aside" if aside else "failed"] += 1
        line = "Message %s, from %s failed at try %d of %d: %s"
        told = message, source, tries, conf.tries(), f"{type(error).__name__}: {error}"
        if aside:
            logger.error(line + " It was set aside.", *told, exc_info=error)
        else:
            logger.warning(line, *told)
    return outcome
