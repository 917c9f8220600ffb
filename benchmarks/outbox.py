"""The cost of the outbox: sending, delivering, several workers, the delay, and many messages.

Run by ``make bench``, from the root of the project: ``python -m benchmarks.outbox``. With an
engine, as in ``python -m benchmarks.outbox postgresql``, it runs on the server whose address is in
the variables of the engine's clients. Both databases are then on that server.
"""

import random
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from time import monotonic, perf_counter, sleep

from benchmarks import (
    SERVERS,
    compare,
    copy_of,
    engine_named,
    manage,
    save,
    start_django,
    summary,
    versions_of,
)
from benchmarks.growth import spread
from benchmarks.sharding import empty, execute

PACKAGES = ["Django"]
SOURCE, TARGET = "default", "reviews"
TABLES = {
    SOURCE: ["outbox_message", "outbox_stream", "orders_order"],
    TARGET: ["outbox_received", "purchases_purchase"],
}
# Instead of the example's receiver, which also adds up what was sold.
RECEIVER = """
from purchases.models import Purchase


def receive(message):
    Purchase.objects.create(order_id=message.body["order"], product_id=1, buyer_id=1, quantity=1)
"""
MESSAGES = 1_000  # in a round
WAITING, KEPT = 100_000, 500_000
PATIENCE = 120  # seconds
numbers = count(1)


def set_up(engine):
    start_django(engine, module="shop.with_orders")
    Path("purchases/receiving.py").write_text(RECEIVER)
    manage("migrate")
    manage("migrate", f"--database={TARGET}")
    manage("populate", "--reviews=1")


def clear(name=""):
    for alias, tables in TABLES.items():
        empty(alias, tables)


def write(messages=0, key=None):
    """Write an order in a transaction, with this many messages. None is a new key for each."""
    from django.db import transaction

    from orders.models import Order
    from outbox.sending import send

    with transaction.atomic(using=SOURCE):
        Order.objects.create(product_id=1, buyer_id=1)
        for number in range(messages):
            number = next(numbers)
            send("orders", key=key or number, body={"order": number}, using=SOURCE)


def purchases(number):
    """Write this many rows of the receiver's table, one by one."""
    from purchases.models import Purchase

    for _ in range(number):
        Purchase.objects.create(order_id=next(numbers), product_id=1, buyer_id=1, quantity=1)


def measure_sending(engine, runs=101, number=20):
    """Time a transaction that writes an order, alone, with a message, and with a second database."""
    from django.db import transaction

    def times(function, *arguments):
        for _ in range(number):
            function(*arguments)
        return number

    def in_both():
        with transaction.atomic(using=TARGET), transaction.atomic(using=SOURCE):
            write()
            purchases(1)

    functions = {
        "a row": partial(times, write),
        "a row and send(), a new key": partial(times, write, 1),
        "a row and send(), a known key": partial(times, write, 1, "known"),
        "a row in each database": partial(times, in_both),
    }
    clear()
    return {"send": compare("A transaction", "µs", functions, runs)}
