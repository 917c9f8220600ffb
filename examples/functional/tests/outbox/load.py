"""The processes of test_kills.py: who orders and who delivers, each killed again and again.

A role runs in a folder that has the project and its databases: ``load.py ROLE SEED KILLS``. It
starts a child that works, until the child is killed by the clock, or kills itself after a random
number of statements and COMMITs. Then it starts the next.
"""

import json
import os
import signal
import sys
import time
from random import Random

sys.path.insert(0, os.getcwd())

import django  # noqa: E402

django.setup()

from django.conf import settings  # noqa: E402
from django.db import OperationalError, connections, transaction  # noqa: E402
from django.db.backends.base.base import BaseDatabaseWrapper  # noqa: E402
from django.db.models import F  # noqa: E402

from orders.models import Order  # noqa: E402
from outbox.delivery import Unavailable, deliver  # noqa: E402
from outbox.models import Message  # noqa: E402
from outbox.retention import prune  # noqa: E402
from purchases import receiving  # noqa: E402
from purchases.models import Purchase, Sold  # noqa: E402
from reviews.models import Review  # noqa: E402

settings.OUTBOX_RECEIVERS = {"orders": ("reviews", "load.receive")}
settings.OUTBOX_KEEP_DAYS = 0  # so that messages and streams are deleted at once
sys.modules["load"] = sys.modules[__name__]
ORDERS, PRODUCTS = 12, 3


def receive(message):
    """Apply the message, and log it: a review holds the order and its quantity."""
    receiving.receive(message)
    Review.objects.create(
        product_id=message.key, author_id=message.body["quantity"], rating=1, text=""
    )


def order(random):
    """Raise the quantity of an order by one. So the quantity is the number of its messages."""
    try:
        with transaction.atomic(using="default"):
            pk = random.randint(1, ORDERS)
            if Order.objects.filter(pk=pk).update(quantity=F("quantity") + 1):
                changed = Order.objects.get(pk=pk)
            else:
                changed = Order(pk=pk, product_id=pk % PRODUCTS + 1, buyer_id=1)
                changed.save(force_insert=True)  # save() would change a row of another process
            changed.place()
            if random.random() < 0.1:
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    except django.db.IntegrityError:
        pass  # two processes created the same order: one of them is rolled back
    time.sleep(random.uniform(0, 0.01))


def deliver_some(random):
    if random.random() < 0.1:
        prune("default")
    Clock.runs = False
    if Message.objects.using("default").exclude(state="delivered").exists():
        Clock.runs = True  # a worker without work would mostly be killed while it waits
        deliver(limit=random.choice([1, 3, 100]))
        Clock.runs = False
    time.sleep(random.uniform(0, 0.01))


class Clock:
    """Whether statements and COMMITs count."""

    runs = True


def die_after(ticks, only_commits):
    """Have this process kill itself after so many statements and COMMITs, or before the next."""

    def tick():
        nonlocal ticks
        ticks -= Clock.runs
        if ticks < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(call):
        def counted(*args):
            tick()
            result = call(*args)
            tick()
            return result

        return counted

    BaseDatabaseWrapper._commit = around(BaseDatabaseWrapper._commit)
    for connection in [] if only_commits else connections.all():
        connection.execute_wrappers.append(lambda execute, *args: around(execute)(*args))


def work(do, random):
    """Do it until the process is killed."""
    while True:
        try:
            do(random)
        except (OperationalError, Unavailable) as error:
            # SQLite's wait for another writer has an end, and a server may report a deadlock.
            if "lock" not in str(error):
                raise


def killed(do, most, random, kills):
    while kills:
        only_commits = random.random() < 0.5
        by_clock, ticks, seed = random.random() < 0.3, random.randrange(most), random.random()
        child = os.fork()
        if not child:
            try:
                if not by_clock:
                    die_after(ticks // 10 if only_commits else ticks, only_commits)
                work(do, Random(seed))
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
        # A worker that has nothing left to deliver does not kill itself.
        limit = time.monotonic() + (random.uniform(0.1, 1) if by_clock else 2)
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > limit:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.01)
        status = os.waitstatus_to_exitcode(ended[1])
        assert status == -signal.SIGKILL, status
        kills -= 1


def check(random, kills):
    """Deliver what is left. Compare the two databases. Return the number of messages."""
    deliver()
    assert not Message.objects.using("default").exclude(state="delivered").exists()
    sold, messages = {}, 0
    for placed in Order.objects.all():
        log = Review.objects.filter(product_id=placed.pk).order_by("pk")
        applied = list(log.values_list("author_id", flat=True))
        assert applied == list(range(1, placed.quantity + 1)), (placed.pk, applied)
        assert Purchase.objects.get(pk=placed.pk).quantity == placed.quantity
        sold[placed.product_id] = sold.get(placed.product_id, 0) + placed.quantity
        messages += placed.quantity
    assert dict(Sold.objects.values_list("product_id", "pieces")) == sold
    print(json.dumps(messages))


#: What a role does, and the most statements and COMMITs until it kills itself.
ROLES = {"order": (order, 1000), "deliver": (deliver_some, 100)}

if __name__ == "__main__":
    _, role, seed, kills = sys.argv
    arguments = Random(f"{role} {seed}"), int(kills)
    if role == "check":
        check(*arguments)
    else:
        killed(*ROLES[role], *arguments)
