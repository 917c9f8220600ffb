"""What is in the outbox of a database."""

from dataclasses import dataclass

from django.db.models import Count, Min
from django.utils import timezone

from outbox import conf
from outbox.models import Message


@dataclass
class Status:
    """The messages of one topic in one source. ``oldest`` is the age of a message in seconds."""

    source: str
    topic: str
    target: str
    waiting: int = 0
    failing: int = 0  # of those that wait, have failed at least once
    aside: int = 0
    delivered: int = 0  # and not yet deleted
    oldest: float | None = None  # of those that wait or are set aside


def statuses():
    """Return a Status for each source and topic."""
    found = []
    for source in conf.sources():
        messages = Message.objects.using(source)
        counts = messages.values_list("topic", "state").annotate(Count("pk"), Min("created"))
        rows = {(topic, state): rest for topic, state, *rest in counts.order_by()}
        failing = messages.filter(state=Message.State.WAITING, tries__gt=0).values_list("topic")
        failing = dict(failing.annotate(Count("pk")).order_by())
        for topic, (target, _) in conf.receivers().items():
            waiting, aside, delivered = (
                rows.get((topic, state), (0, None))
                for state in (Message.State.WAITING, Message.State.ASIDE, Message.State.DELIVERED)
            )
            created = [time for _, time in (waiting, aside) if time]
            found.append(
                Status(
                    source,
                    topic,
                    target,
                    waiting=waiting[0],
                    failing=failing.get(topic, 0),
                    aside=aside[0],
                    delivered=delivered[0],
                    oldest=(timezone.now() - min(created)).total_seconds() if created else None,
                )
            )
    return found
