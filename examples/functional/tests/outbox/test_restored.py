"""One of the two databases goes back to an earlier state, as by a restore from a backup."""

import pickle
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from outbox.delivery import deliver
from outbox.models import Message, Received, Stream
from tests.outbox.messages import send_now, states

pytestmark = pytest.mark.django_db(databases=["default", "reviews"])


def backup(alias):
    return [pickle.dumps(list(m.objects.using(alias).all())) for m in (Stream, Message, Received)]


def restore(alias, dump):
    for model in (Message, Stream, Received):
        model.objects.using(alias).all().delete()
    for model, rows in zip((Stream, Message, Received), dump, strict=True):
        model.objects.using(alias).bulk_create(pickle.loads(rows))


def reconcile(*arguments):
    output = StringIO()
    call_command("outbox_reconcile", *arguments, stdout=output)
    return output.getvalue().splitlines()


def bodies(receiver):
    return [body for _, _, body in receiver]


def test_nothing_differs(receiver):
    send_now("1"), send_now("2", "b")
    deliver()
    send_now("3")
    assert reconcile() == ["default to reviews: nothing differs."]
    assert deliver() == 1 and bodies(receiver) == ["1", "2", "3"]


def test_the_target_was_restored(receiver):
    send_now("1"), send_now("2", "b")
    deliver()
    dump = backup("reviews")
    send_now("3"), send_now("4"), send_now("5", "c")
    deliver()
    restore("reviews", dump)
    receiver.clear()
    send_now("6")
    assert deliver() == 0
    (message,) = Message.objects.using("default").filter(state="set aside")
    assert message.body == "6" and "After a restore of reviews, run: python manage" in message.error
    assert reconcile("--dry-run") == [
        "default to reviews: messages delivered again: 3.",
        "Nothing was changed.",
    ]
    assert deliver() == 0
    assert reconcile() == ["default to reviews: messages delivered again: 3."]
    assert deliver() == 4
    assert bodies(receiver) == ["3", "4", "5", "6"]
    assert reconcile() == ["default to reviews: nothing differs."]


def test_the_target_was_restored_too_late(receiver, settings):
    dump = backup("reviews")
    send_now("1"), send_now("2")
    deliver()
    Message.objects.using("default").filter(body="1").delete()  # by prune()
    restore("reviews", dump)
    receiver.clear()
    assert reconcile() == [
        "default to reviews: messages not delivered again, because they were deleted after "
        "OUTBOX_KEEP_DAYS: 1.",
        "default to reviews: messages delivered again: 1.",
    ]
    assert deliver() == 1 and bodies(receiver) == ["2"]


def test_the_source_was_restored(receiver):
    send_now("1"), send_now("2"), send_now("other", "b")
    dump = backup("default")  # in which all of them wait
    deliver()
    send_now("lost")
    deliver()
    restore("default", dump)
    receiver.clear()
    send_now("new")
    Message.objects.using("default").filter(body="new").update(
        created=timezone.now() + timedelta(seconds=1)
    )
    assert deliver() == 1  # of "b"
    aside = Message.objects.using("default").get(state="set aside")
    assert "reviews has applied another message with number 1 of this key" in aside.error
    assert reconcile() == [
        "default to reviews: messages that waited, but had been applied, and now count as "
        "delivered: 2.",
        "default to reviews: messages sent after the restore, which got new numbers and wait: 1.",
        "default to reviews: messages applied, but missing in default: compare their effects by "
        "hand: 1.",
    ]
    assert states() == [
        ("1", "delivered"),
        ("2", "delivered"),
        ("other", "delivered"),
        ("new", "waiting"),
    ]
    assert deliver() == 1 and bodies(receiver) == ["new"]
    send_now("next")
    assert deliver() == 1 and bodies(receiver) == ["new", "next"]
    assert reconcile() == ["default to reviews: nothing differs."]


def test_a_key_of_a_restored_source_is_sent_anew(receiver):
    dump = backup("default")
    send_now("1")
    deliver()
    restore("default", dump)
    send_now("2")
    assert deliver() == 1
    assert bodies(receiver) == ["1", "2"]
