import signal
import subprocess
import sys
import time
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from outbox import delivery
from outbox.delivery import deliver
from outbox.models import Message
from tests.outbox.messages import send_now

pytestmark = pytest.mark.django_db(databases=["default", "reviews"])


def call(*arguments):
    output = StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


def test_deliver(receiver, fails):
    fails["bad"] = ValueError("no")
    send_now("good"), send_now("bad", "b")
    assert call("deliver") == "1 delivered, 1 failed.\n"
    assert call("deliver") == "0 delivered, 0 failed.\n"


def test_status(fails, settings):
    settings.OUTBOX_TRIES = 1
    assert call("outbox_status").splitlines() == [
        "default to reviews, orders: 0 waiting, 0 failing, 0 set aside, 0 delivered.",
        "default to reviews, notes: 0 waiting, 0 failing, 0 set aside, 0 delivered.",
    ]
    assert call("outbox_status", "--max-age=0")
    fails["bad"] = ValueError("no")
    send_now("good")
    deliver()
    send_now("bad", "b"), send_now("late")
    created = timezone.now() - timedelta(seconds=90.5)
    Message.objects.using("default").filter(body="late").update(created=created)
    text = "notes: 2 waiting, 0 failing, 0 set aside, the oldest 90 s old, 1 delivered."
    assert text in call("outbox_status", "--max-age=1000").replace("91", "90")
    with pytest.raises(CommandError, match="has waited for 9. s, longer than 60 s. Is python"):
        call("outbox_status", "--max-age=60")
    deliver()
    assert "notes: 0 waiting, 0 failing, 1 set aside, the oldest" in call("outbox_status")
    with pytest.raises(CommandError, match="1 set aside: see the admin"):
        call("outbox_status", "--max-age=1000")


def test_status_counts_what_failed(fails):
    fails["bad"] = ValueError("no")
    send_now("bad")
    deliver()
    assert "0 waiting, 1 failing, 0 set aside" in call("outbox_status")


@pytest.mark.parametrize("text", ["-1", "soon", "nan", "inf"])
@pytest.mark.parametrize("option", ["deliver --every", "outbox_status --max-age"])
def test_wrong_seconds(option, text):
    command, name = option.split()
    with pytest.raises(CommandError) as error:
        call(command, f"{name}={text}")
    assert str(error.value) == f"{name} must be a number of seconds, 0 or more, not {text}."


def test_no_settings(settings):
    settings.OUTBOX_RECEIVERS = {}
    with pytest.raises(CommandError, match="OUTBOX_SOURCES or OUTBOX_RECEIVERS is empty"):
        call("deliver")


def test_a_target_that_is_down(monkeypatch):
    def apply(*args):
        raise delivery.DatabaseError("connection\nrefused")

    send_now("1")
    monkeypatch.setattr(delivery, "is_lost", lambda alias: True)
    monkeypatch.setattr(delivery, "apply", apply)
    with pytest.raises(CommandError) as error:
        call("deliver")
    assert str(error.value) == "reviews is unavailable: connection refused."


def test_databases_without_the_tables(manage):
    for command in ("deliver", "outbox_status"):
        done = manage(command)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert "default has no tables of the outbox. Run: python manage.py migrate outbox" in line


def test_a_worker_starts_while_a_server_is_down(manage):
    """From Django 6.1 on, its own checks ask a MariaDB server for its version."""
    if connections["reviews"].vendor != "mysql":
        pytest.skip("only MariaDB is asked")
    assert manage("migrate", "--verbosity=0").returncode == 0
    (manage.folder / "shop/down.py").write_text(
        "from tests.with_orders import *\n"
        "DATABASES = DATABASES | {'reviews': DATABASES['reviews'] | "
        "{'HOST': '127.0.0.1', 'PORT': '1', 'OPTIONS': {}}}\n"
    )
    done = manage("deliver", "--settings=shop.down")
    assert (done.returncode, done.stdout) == (0, "0 delivered, 0 failed.\n"), done.stderr
    assert manage("outbox_status", "--settings=shop.down").returncode == 0


def test_a_follower_goes_on_while_the_target_is_missing(manage):
    """It reports the target once, and stops at SIGTERM."""
    assert manage("migrate", "--verbosity=0").returncode == 0
    assert manage("populate", "--products=1", "--reviews=0").returncode == 1  # reviews is missing
    order = "from orders.models import Order; Order(product_id=1, buyer_id=1).place()"
    created = (
        "from django.contrib.auth.models import User; User.objects.create(pk=1, username='u');"
        "from products.models import Product; Product.objects.create(pk=1, name='c', price=1);"
    )
    done = manage("shell", "-v0", "-c", created + order)
    assert done.returncode == 0, done.stderr
    follower = subprocess.Popen(
        [sys.executable, "manage.py", "deliver", "--follow", "--every=0.1"],
        cwd=manage.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = follower.stderr.readline()
    assert "reviews is unavailable: " in line and line.endswith("Trying again every 5 seconds.\n")
    assert manage("migrate", "--database=reviews", "--verbosity=0").returncode == 0
    assert follower.stdout.readline() == "default to reviews: works again.\n"
    deadline = time.monotonic() + 30
    while "1 delivered" not in manage("outbox_status").stdout:
        assert time.monotonic() < deadline
    follower.send_signal(signal.SIGTERM)
    output, errors = follower.communicate(timeout=30)
    assert (follower.returncode, errors) == (0, "")
    assert output == "1 delivered, 0 failed.\n"
