import secrets
from uuid import uuid4

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone


def new_stream():
    """Return a random key. A restored database never gives it to another stream."""
    return secrets.randbits(63)


class Stream(models.Model):
    """All messages of a topic with the same key, in a database that sends.

    ``send()`` locks this row until the end of its transaction. So the numbers are in the order of
    the COMMITs, and have no gaps.
    """

    id = models.BigIntegerField(primary_key=True, default=new_stream)
    topic = models.CharField(max_length=100)
    key = models.CharField(max_length=200)
    last = models.PositiveBigIntegerField(default=0)  # the number of the newest message

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["topic", "key"], name="outbox_stream_key"),
        ]

    def __str__(self):
        return f"{self.topic} {self.key}"


class Message(models.Model):
    """A message, in the database that sends it. It is kept for some days after its delivery."""

    class State(models.TextChoices):
        WAITING = "waiting"  # was not tried, or waits for an earlier message of its stream
        FAILING = "failing"  # is tried again at `next_try`; the rest of its stream waits
        ASIDE = "set aside"  # has failed too often; the rest of its stream waits
        DELIVERED = "delivered"

    stream = models.ForeignKey(Stream, models.CASCADE, related_name="+")
    number = models.PositiveBigIntegerField()  # in its stream: 1, 2, 3 …
    uuid = models.UUIDField(default=uuid4)
    topic = models.CharField(max_length=100)
    key = models.CharField(max_length=200)
    body = models.JSONField(encoder=DjangoJSONEncoder)
    created = models.DateTimeField(default=timezone.now)
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    skip = models.BooleanField(default=False)  # count as delivered, without the receiver
    tries = models.PositiveIntegerField(default=0)  # that failed
    next_try = models.DateTimeField(default=timezone.now)
    error = models.TextField(blank=True)  # of the last try
    delivered = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["stream", "number"], name="outbox_message_number"),
        ]
        indexes = [models.Index(fields=["state", "id"], name="outbox_message_state")]

    def __str__(self):
        return f"{self.topic} {self.key}, number {self.number}"


class Received(models.Model):
    """How far a stream was applied, in the database that receives.

    The receiver's rows and this row are committed together. So a message that is delivered again,
    after a crash between two COMMITs, is recognized and not applied again.
    """

    source = models.CharField(max_length=100)  # the alias of the database that sends
    stream = models.BigIntegerField()
    number = models.PositiveBigIntegerField(default=0)  # of the last message that was applied
    message = models.UUIDField(null=True)  # the same message
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "received"
        constraints = [
            models.UniqueConstraint(fields=["source", "stream"], name="outbox_received_stream"),
        ]

    def __str__(self):
        return f"{self.source}, stream {self.stream}: {self.number}"
