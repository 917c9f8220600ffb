import datetime
import threading
from decimal import Decimal

import pytest
from django.db import connections, transaction
from django.db.transaction import TransactionManagementError

from orders.models import Order
from outbox.models import Message, Stream
from outbox.sending import send
from tests.outbox.messages import send_now

pytestmark = pytest.mark.django_db(databases=["default", "reviews"])


def test_the_numbers_of_each_key():
    sent = [send_now(body, key) for body, key in [("x", "a"), ("y", 7), ("z", "a")]]
    assert [(m.key, m.number) for m in sent] == [("a", 1), ("7", 1), ("a", 2)]
    assert Stream.objects.using("default").count() == 2
    assert Message.objects.using("default").get(body="z").state == "waiting"


def test_a_topic_has_its_own_numbers():
    send_now("x", 1)
    order = send_now({"quantity": 1}, 1, topic="orders")
    assert order.number == 1


def test_a_message_is_rolled_back_with_the_data(product, author):
    with pytest.raises(ZeroDivisionError), transaction.atomic(using="default"):
        Order(product=product, buyer=author).place()
        raise ZeroDivisionError
    assert not Order.objects.exists() and not Message.objects.using("default").exists()
    assert send_now("x").number == 1


def test_a_body_may_have_what_json_has_not():
    body = [datetime.date(2010, 9, 7), Decimal("9.50"), None]
    message = send_now(body)
    message.refresh_from_db(using="default")
    assert message.body == ["2010-09-07", "9.50", None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"topic": "letters"}, "OUTBOX_RECEIVERS has no topic 'letters'."),
        ({"using": "reviews"}, "OUTBOX_SOURCES has no 'reviews'."),
        ({"key": ""}, "A key has 1 to 200 characters, not 0."),
        ({"key": "k" * 201}, "A key has 1 to 200 characters, not 201."),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError) as error:
        send_now("x", **arguments)
    assert str(error.value) == message


def test_without_a_transaction():
    """The transaction of the test itself does not count."""
    with pytest.raises(TransactionManagementError, match='with transaction.atomic.using="default"'):
        send("notes", key="a", body="x", using="default")
    with (
        transaction.atomic(using="reviews"),
        pytest.raises(TransactionManagementError, match="send.. needs the transaction"),
    ):
        send("notes", key="a", body="x", using="default")


@pytest.mark.django_db(databases=["default", "reviews"], transaction=True)
def test_senders_of_one_key_wait_for_each_other():
    """A new key, and then one that exists: the numbers are in the order of the COMMITs."""
    if connections["default"].vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    order = []

    def other():
        try:
            message = send_now("second")
            order.append(message.number)
        finally:
            connections.close_all()

    for _ in range(2):
        thread = threading.Thread(target=other)
        with transaction.atomic(using="default"):
            first = send("notes", key="a", body="first", using="default")
            thread.start()
            thread.join(0.5)
            assert thread.is_alive()
            order.append(first.number)
        thread.join(10)
    assert order == [1, 2, 3, 4]


@pytest.mark.django_db(databases=["default", "reviews"], transaction=True)
def test_many_first_senders_of_one_key():
    """On MariaDB, INSERT IGNORE would give some of them a deadlock."""
    if connections["default"].vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    start, problems = threading.Barrier(6), []

    def sender(key):
        try:
            start.wait()
            send_now("x", key)
        except Exception as error:
            problems.append(error)
        finally:
            connections.close_all()

    for key in range(5):
        threads = [threading.Thread(target=sender, args=[key]) for _ in range(6)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert not problems
    assert set(Stream.objects.using("default").values_list("last", flat=True)) == {6}
