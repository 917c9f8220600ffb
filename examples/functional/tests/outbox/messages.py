"""Short ways to send, and to look at what was sent."""

from django.db import transaction
from django.utils import timezone

from outbox.models import Message
from outbox.sending import send


def send_now(body, key="a", topic="notes", using="default"):
    with transaction.atomic(using=using):
        return send(topic, key=key, body=body, using=using)


def states():
    return list(Message.objects.using("default").order_by("id").values_list("body", "state"))


def due():
    """Make all messages due that wait for their next try."""
    Message.objects.using("default").update(next_try=timezone.now())
