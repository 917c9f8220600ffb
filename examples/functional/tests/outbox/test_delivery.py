import threading

import pytest
from django.db import DatabaseError, IntegrityError, connections, transaction

from orders.models import Order
from outbox import delivery
from outbox.delivery import Unavailable, claim, deliver, deliver_batch
from outbox.models import Message, Received
from purchases.models import Purchase, Sold
from tests.outbox.messages import due, send_now, states

pytestmark = pytest.mark.django_db(databases=["default", "reviews"])
BOTH = pytest.mark.django_db(databases=["default", "reviews"], transaction=True)


def test_an_order_has_its_effect(product, author):
    order = Order(product=product, buyer=author, quantity=3)
    order.place()
    order.quantity = 2
    order.place()
    assert not Purchase.objects.exists()
    assert deliver() == 2
    assert Purchase.objects.get().quantity == Sold.objects.get().pieces == 2
    order.cancel()
    assert deliver("default") == 1 and deliver() == 0
    assert not Purchase.objects.exists() and Sold.objects.get().pieces == 0


def test_in_order_for_each_key(receiver):
    for body, key in [("1", "a"), ("2", "b"), ("3", "a"), ("4", "a"), ("5", "b")]:
        send_now(body, key)
    assert deliver() == 5
    assert receiver == [
        ("a", 1, "1"),
        ("b", 1, "2"),
        ("a", 2, "3"),
        ("a", 3, "4"),
        ("b", 2, "5"),
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_batches(receiver, limit):
    for n in range(7):
        send_now(str(n), "ab"[n % 2])
    sizes = []
    while outcome := deliver_batch("default", "reviews", limit):
        sizes.append(outcome["delivered"])
    assert sum(sizes) == 7 and max(sizes) <= limit
    for key in "ab":
        numbers = [number for its, number, _ in receiver if its == key]
        assert numbers == list(range(1, len(numbers) + 1))


def crash(monkeypatch):
    """Let the worker die after the COMMIT in `reviews`, before the COMMIT in `default`."""

    def record(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(delivery, "record", record)
        with pytest.raises(KeyboardInterrupt):
            deliver()


def test_a_message_that_is_delivered_again_is_not_applied_again(receiver, monkeypatch):
    send_now("1"), send_now("2"), send_now("3", "b")
    crash(monkeypatch)
    assert [state for _, state in states()] == ["waiting"] * 3 and len(receiver) == 3
    send_now("4")
    assert deliver() == 4
    assert [body for _, _, body in receiver] == ["1", "2", "3", "4"]


def test_a_worker_with_an_old_list(receiver):
    """As on SQLite, where a worker takes no locks: another one was faster."""
    send_now("1"), send_now("2")
    old = claim("default", "reviews", 100)
    assert deliver() == 2
    send_now("3")
    assert deliver() == 1
    assert delivery.attempt(old, "default", "reviews") == {}
    assert [body for _, _, body in receiver] == ["1", "2", "3"]


def test_a_message_that_fails_is_tried_again_later(receiver, fails):
    fails["bad"] = ValueError("no such note")
    for body, key in [("bad", "a"), ("after", "a"), ("other", "b")]:
        send_now(body, key)
    assert deliver() == 1
    assert states() == [("bad", "failing"), ("after", "waiting"), ("other", "delivered")]
    message = Message.objects.using("default").get(body="bad")
    assert (message.tries, message.error) == (1, "ValueError: no such note")
    assert 1 < (message.next_try - message.created).total_seconds() < 60
    receiver.clear()
    assert deliver() == 0 and not receiver
    due()
    fails.clear()
    assert deliver() == 2
    assert [body for _, _, body in receiver] == ["bad", "after"]


def test_a_message_that_fails_too_often_is_set_aside(receiver, fails, settings):
    settings.OUTBOX_TRIES = 3
    fails["bad"] = ValueError("no such note")
    for body, key in [("bad", "a"), ("after", "a"), ("other", "b")]:
        send_now(body, key)
    for _ in range(5):
        due()
        deliver()
    assert [body for _, _, body in receiver].count(
        "bad"
    ) == 2 + 1 + 1  # first with others, then alone
    assert states() == [("bad", "set aside"), ("after", "waiting"), ("other", "delivered")]
    Message.objects.using("default").filter(body="bad").update(state="failing", skip=True)
    receiver.clear()
    assert deliver() == 2
    assert [body for _, _, body in receiver] == ["after"]


def test_what_a_failed_message_wrote_is_rolled_back(product, author, fails, settings):
    order = Order(product=product, buyer=author)
    order.place()
    with transaction.atomic(using="default"):
        delivery_of = Message.objects.using("default").filter(topic="orders")
        delivery_of.update(body={"product": 1, "buyer": 1, "quantity": -1})
    # On each engine a number below zero, or the constraint, is refused.
    deliver()
    assert not Purchase.objects.exists() and not Sold.objects.exists()
    assert Received.objects.using("reviews").count() == 0
    (message,) = delivery_of
    assert message.tries == 1 and message.error.startswith(("IntegrityError", "DataError"))


def test_a_query_of_the_receiver_fails_on_the_source(receiver, fails, monkeypatch):
    """On PostgreSQL a failed query makes the whole transaction unusable."""

    def receive(message):
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT no_such_column FROM outbox_message")

    monkeypatch.setattr("conftest.receive", receive)
    send_now("1")
    assert deliver() == 0
    message = Message.objects.using("default").get()
    assert message.tries == 1 and "no_such_column" in message.error


def lose(alias):
    """End a connection by the server, as a restart of the server does."""
    ask, end = {
        "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend({}, 5000)"),
        "mysql": ("SELECT connection_id()", "KILL {}"),
    }[connections[alias].vendor]
    with connections[alias].cursor() as cursor:
        cursor.execute(ask)
        (process,) = cursor.fetchone()
    other = connections.create_connection(alias)
    with other.cursor() as cursor:
        cursor.execute(end.format(process))
    other.close()


@BOTH
@pytest.mark.parametrize("alias", ["default", "reviews"])
def test_a_connection_that_was_lost_counts_no_try_and_is_made_again(receiver, alias):
    if connections[alias].vendor == "sqlite":
        pytest.skip("SQLite has no server")
    deliver()
    send_now("1"), send_now("2")
    lose(alias)
    with pytest.raises(Unavailable, match=f"{alias} is unavailable: "):
        deliver()
    assert set(Message.objects.using("default").values_list("tries", "state")) == {(0, "waiting")}
    assert deliver() == 2 and len(receiver) == 2


def test_an_error_of_its_own_tables_counts_no_try(monkeypatch):
    send_now("1")

    def bulk_create(*args, **options):
        raise DatabaseError("deadlock detected")

    monkeypatch.setattr("django.db.models.query.QuerySet.bulk_create", bulk_create)
    with pytest.raises(Unavailable, match="reviews is unavailable: deadlock detected"):
        deliver()
    assert Message.objects.using("default").get().tries == 0


def test_one_database_for_both(receiver, settings):
    path = settings.OUTBOX_RECEIVERS["notes"][1]
    settings.OUTBOX_RECEIVERS = {"notes": ("default", path)}
    send_now("1"), send_now("2")
    assert deliver() == 2 and len(receiver) == 2
    assert Received.objects.using("default").get().number == 2


def test_two_targets(receiver, settings, monkeypatch):
    """The messages of a target that is down do not delay those of another."""
    path = settings.OUTBOX_RECEIVERS["notes"][1]
    settings.OUTBOX_RECEIVERS = {"notes": ("reviews", path), "logs": ("default", path)}
    send_now("1"), send_now("2", topic="logs")
    assert deliver_batch("default", "default") == {"delivered": 1}
    assert receiver == [("a", 1, "2")]


@pytest.mark.parametrize("stopped", ["failing", "set aside"])
def test_others_behind_a_long_stream_that_stopped(receiver, fails, settings, stopped):
    settings.OUTBOX_TRIES = 1 if stopped == "set aside" else 10
    fails["bad"] = ValueError("no")
    send_now("bad")
    deliver()
    for n in range(7):
        send_now(f"late {n}")
    send_now("other", "b")
    assert claim("default", "reviews", 2)[0].body == "other"
    assert deliver(limit=2) == 1
    assert states()[0] == ("bad", stopped)


@BOTH
def test_the_statistics_of_the_engine_change_nothing(receiver):
    """SQLite 3.40 gave a wrong answer to another form of this query, once it had statistics."""
    for n in range(100):
        send_now("x", n)
    with connections["default"].cursor() as cursor:
        cursor.execute({"mysql": "ANALYZE TABLE outbox_message"}.get(cursor.db.vendor, "ANALYZE"))
    assert deliver() == 100


@BOTH
def test_a_worker_looks_further_than_what_others_have(receiver):
    if not connections["default"].features.has_select_for_update_skip_locked:
        pytest.skip("this engine has no SKIP LOCKED")
    for n in range(9):
        send_now(str(n), "a")
    send_now("other", "b")
    seen = []

    def other():
        try:
            seen.append(deliver_batch("default", "reviews", 2))
            seen.append(deliver_batch("default", "reviews", 2))
        finally:
            connections.close_all()

    with transaction.atomic(using="default"):
        assert [message.body for message in claim("default", "reviews", 2)] == ["0", "1"]
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(10)
    assert seen == [{"delivered": 1}, {}]
    assert receiver == [("b", 1, "other")]


@BOTH
def test_two_workers_at_once(receiver):
    """The second takes other keys, without waiting. (SQLite has one writer at a time.)"""
    if not connections["default"].features.has_select_for_update_skip_locked:
        pytest.skip("this engine has no SKIP LOCKED")
    for n in range(4):
        send_now(str(n), "ab"[n % 2])
    seen = []

    def other():
        try:
            seen.append(deliver_batch("default", "reviews"))
            send_now("4", "a")  # does not wait for the worker
        finally:
            connections.close_all()

    with transaction.atomic(using="default"):
        mine = claim("default", "reviews", 1)
        assert [message.body for message in mine] == ["0"]
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
    assert seen == [{"delivered": 2}]
    assert [body for _, _, body in receiver] == ["1", "3"]
    assert deliver() == 3


@BOTH
def test_a_constraint_that_fails_at_the_commit(receiver, monkeypatch):
    """On PostgreSQL and SQLite a deferred constraint is checked by the COMMIT."""
    send_now("1"), send_now("2", "b")
    real = connections["reviews"]._commit
    failed = []

    def commit():
        if receiver[-1][2] == "2" and len(failed) < 2:
            failed.append(True)
            raise IntegrityError("refused at the COMMIT")
        return real()

    monkeypatch.setattr(connections["reviews"], "_commit", commit)
    assert deliver() == 1
    assert states() == [("1", "delivered"), ("2", "failing")]
    due()
    assert deliver() == 1
    assert Received.objects.using("reviews").count() == 2


@BOTH
@pytest.mark.parametrize("alias", ["default", "reviews"])
def test_not_inside_a_transaction(receiver, alias):
    send_now("a", "1")
    with transaction.atomic(using=alias), pytest.raises(RuntimeError, match=alias):
        deliver()
    assert not receiver and deliver() == 1
    with transaction.atomic(using="default"):
        send_now("b", "1")
        transaction.on_commit(deliver, using="default")
    assert len(receiver) == 2


@BOTH
def test_workers_lock_only_their_own_streams(receiver):
    """Otherwise two workers get a deadlock. (SQLite has one writer at a time.)"""
    if not connections["reviews"].features.has_select_for_update_skip_locked:
        pytest.skip("this engine has no SKIP LOCKED")
    found = []

    def other():
        try:
            with transaction.atomic(using="reviews"):
                found.extend(delivery.lock_streams(range(0, 200, 2), "default", "reviews"))
        finally:
            connections.close_all()

    with transaction.atomic(using="reviews"):
        delivery.lock_streams(range(1, 200, 2), "default", "reviews")
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(10)
        assert len(found) == 100
    thread.join()
