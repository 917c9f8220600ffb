import pytest
from django.urls import reverse

from outbox.delivery import deliver
from outbox.models import Message
from tests.outbox.messages import send_now, states

pytestmark = pytest.mark.django_db(databases=["default", "reviews"])
MESSAGES = reverse("admin:outbox_message_changelist")


@pytest.fixture
def aside(fails, settings):
    settings.OUTBOX_TRIES = 1
    fails["bad"] = ValueError("no such note")
    send_now("good"), send_now("bad", "b"), send_now("after", "b")
    deliver()
    return Message.objects.using("default").get(body="bad")


def act(client, action, *messages):
    data = {"action": action, "_selected_action": [message.pk for message in messages]}
    return client.post(MESSAGES, data, follow=True).content.decode()


def test_the_list_shows_the_error(admin_client, aside):
    page = admin_client.get(MESSAGES).content.decode()
    assert "ValueError: no such note" in page and "notes b, number 1" in page
    filtered = admin_client.get(MESSAGES, {"state": "set aside"}).content.decode()
    assert "notes b, number 1" in filtered and "notes a, number 1" not in filtered
    assert "add/" not in page.split("</header>")[1].split("object-tools")[-1]


def test_try_again(admin_client, aside, fails):
    fails.clear()
    assert "1 will be tried again." in act(admin_client, "try_again", aside)
    assert deliver() == 2
    assert {state for _, state in states()} == {"delivered"}


def test_skip(admin_client, aside, receiver):
    receiver.clear()
    assert "1 will be skipped." in act(admin_client, "skip", aside)
    assert deliver() == 2
    assert [body for _, _, body in receiver] == ["after"]
    aside.refresh_from_db(using="default")
    assert (aside.state, aside.skip) == ("delivered", True)


def test_a_message_that_was_delivered_stays(admin_client, aside):
    good = Message.objects.using("default").get(body="good")
    assert "0 will be tried again." in act(admin_client, "try_again", good)
    good.refresh_from_db(using="default")
    assert good.state == "delivered"


def test_the_messages_of_another_source(admin_client, settings):
    settings.OUTBOX_SOURCES = ["default", "reviews"]
    send_now("here"), send_now("there", using="reviews", key="b")
    assert "notes b" not in admin_client.get(MESSAGES).content.decode()
    page = admin_client.get(MESSAGES, {"source": "reviews"})
    assert page.status_code == 200
    assert "notes b" in page.content.decode() and "notes a" not in page.content.decode()


def test_an_order_by_the_admin(admin_client, product, author):
    url = reverse("admin:orders_order_add")
    order = {"product": product.pk, "buyer": author.pk, "quantity": 2}
    assert admin_client.post(url, order).status_code == 302
    assert deliver() == 1
    assert "Purchase" in admin_client.get(reverse("admin:purchases_purchase_changelist")).text
