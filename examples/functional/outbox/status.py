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
    failing: int = 0
    aside: int = 0
    delivered: int = 0  # and not yet deleted
    oldest: float | None = None  # of those that were not delivered


def statuses():
    """Return a Status for each source and topic."""
    found = []
    for source in conf.sources():
        messages = Message.objects.using(source)
        counts = messages.values_list("topic", "state").annotate(Count("pk"), Min("created"))
        rows = {(topic, state): rest for topic, state, *rest in counts.order_by()}
        for topic, (target, _) in conf.receivers().items():
            counts = {state: rows.get((topic, state), (0, None)) for state in Message.State}
            delivered, _ = counts.pop(Message.State.DELIVERED)
            created = [time for _, time in counts.values() if time]
            found.append(
                Status(
                    source,
                    topic,
                    target,
                    waiting=counts[Message.State.WAITING][0],
                    failing=counts[Message.State.FAILING][0],
                    aside=counts[Message.State.ASIDE][0],
                    delivered=delivered,
                    oldest=(timezone.now() - min(created)).total_seconds() if created else None,
                )
            )
    return found
