from datetime import timedelta

import pytest

from outbox import retention
from outbox.delivery import deliver
from outbox.models import Message, Received, Stream
from outbox.retention import prune
from tests.outbox.messages import due, send_now

pytestmark = pytest.mark.django_db(databases=["default", "reviews"])


def later(days):
    """Make all messages older by so many days."""
    for field in ("created", "delivered"):
        for message in Message.objects.using("default").exclude(**{field: None}):
            setattr(message, field, getattr(message, field) - timedelta(days=days))
            message.save(using="default")


def test_old_messages_are_deleted(monkeypatch, settings):
    monkeypatch.setattr(retention, "CHUNK", 2)
    for n in range(5):
        send_now(str(n), f"old {n}")
    deliver()
    later(days=5)
    send_now("new", "old 1")
    deliver()
    assert prune("default") == 0
    later(days=3)
    assert prune("default") == 5
    assert [m.body for m in Message.objects.using("default").all()] == ["new"]
    assert [stream.key for stream in Stream.objects.using("default").all()] == ["old 1"]
    assert Received.objects.using("reviews").get().number == 2
    settings.OUTBOX_KEEP_DAYS = 0
    assert prune("default") == 1 and not Received.objects.using("reviews").exists()


def test_messages_that_wait_or_are_set_aside_are_kept(fails, settings):
    settings.OUTBOX_TRIES = 1
    fails["bad"] = ValueError("no")
    send_now("good"), send_now("bad"), send_now("waits")
    deliver()
    later(days=100)
    assert prune("default") == 1
    bodies = Message.objects.using("default").order_by("id").values_list("body", flat=True)
    assert list(bodies) == ["bad", "waits"]
    fails.clear()
    Message.objects.using("default").filter(body="bad").update(state="failing")
    due()
    assert deliver() == 2


def test_a_key_can_begin_again(receiver, settings):
    """The stream of the key is deleted and made again, with another key of its own."""
    settings.OUTBOX_KEEP_DAYS = 0
    for body in ("1", "2", "3"):
        send_now(body)
        assert deliver() == 1
        prune("default")
        assert not Stream.objects.using("default").exists()
    assert [(number, body) for _, number, body in receiver] == [(1, "1"), (1, "2"), (1, "3")]


def test_rows_of_other_sources_are_kept():
    Received.objects.using("reviews").create(source="other", stream=1, number=1)
    retention.prune_received("default", "reviews")
    assert Received.objects.using("reviews").count() == 1
    Received.objects.using("reviews").update(source="default")
    retention.prune_received("default", "reviews")
    assert not Received.objects.using("reviews").exists()
