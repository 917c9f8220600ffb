"""The cost of the outbox: sending, delivering, several workers, the delay, and many messages.

Run by ``make bench``, from the root of the project: ``python -m benchmarks.outbox``. With an
engine, as in ``python -m benchmarks.outbox postgresql``, it runs on the server whose address is in
the variables of the engine's clients. Both databases are then on that server.
"""

import os
import random
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
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
NUMBERS = [1, 2, 4]  # of workers
ONE_KEY = "deliver(), the same key"
PURCHASE = {"product_id": 1, "buyer_id": 1, "quantity": 1}
PATIENCE = 120  # seconds
SETTLE = 15  # seconds, in which a server writes new rows to the disk
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


def write(key=None, message=True):
    """Write an order in a transaction, with a message. None is a new key."""
    from django.db import transaction

    from orders.models import Order
    from outbox.sending import send

    with transaction.atomic(using=SOURCE):
        Order.objects.create(product_id=1, buyer_id=1)
        if message:
            number = next(numbers)
            send("orders", key=key or number, body={"order": number}, using=SOURCE)


def purchases(number):
    """Write this many rows of the receiver's table, one by one."""
    from purchases.models import Purchase

    for _ in range(number):
        Purchase.objects.create(order_id=next(numbers), **PURCHASE)


def measure_sending(engine, runs=61, number=20):
    """Time a transaction: an order alone, with a message, and with a row in the other database."""
    from django.db import transaction

    def times(function, *arguments):
        for _ in range(number):
            function(*arguments)
        return number

    def in_both():
        write(message=False)
        with transaction.atomic(using=TARGET):
            purchases(1)

    functions = {
        "a row": partial(times, partial(write, message=False)),
        "a row and send(), a new key": partial(times, write),
        "a row and send(), a known key": partial(times, write, "known"),
        "a row in each database": partial(times, in_both),
    }
    clear()
    return {"send": compare("A transaction", "µs", functions, runs)}


def fill(number, key=None, delivered=False, aside=False):
    """Insert messages, with a key each or with one key. The first message may be set aside."""
    from django.utils import timezone

    from outbox.models import Message, Stream

    names = [key] if key else [f"{delivered} {n}" for n in range(number)]
    streams = [Stream(topic="orders", key=name, last=number if key else 1) for name in names]
    Stream.objects.using(SOURCE).bulk_create(streams, batch_size=1000)
    state = Message.State.DELIVERED if delivered else Message.State.WAITING
    messages = [
        Message(
            stream=streams[0] if key else streams[n],
            number=n + 1 if key else 1,
            topic="orders",
            key=key or names[n],
            body={"order": next(numbers)},
            state=Message.State.ASIDE if aside and not n else state,
            delivered=timezone.now() if delivered else None,
        )
        for n in range(number)
    ]
    Message.objects.using(SOURCE).bulk_create(messages, batch_size=1000)


def due(number, key=None):
    """Empty the tables, and insert this many messages in one transaction."""
    from django.db import transaction

    clear()
    with transaction.atomic(using=SOURCE):
        fill(number, key)


def measure_delivering(engine, runs=5):
    """Time deliver(), compared with writing the receiver's rows plainly."""
    from django.db import transaction

    from outbox.delivery import deliver
    from purchases.models import Purchase

    def one_by_one():
        for _ in range(MESSAGES):
            with transaction.atomic(using=TARGET):
                purchases(1)
        return MESSAGES

    def together(size=100):
        for _ in range(MESSAGES // size):
            with transaction.atomic(using=TARGET):
                purchases(size)
        return MESSAGES

    def in_bulk(size=100):
        for _ in range(MESSAGES // size):
            with transaction.atomic(using=TARGET):
                rows = [Purchase(order_id=next(numbers), **PURCHASE) for _ in range(size)]
                Purchase.objects.bulk_create(rows)
        return MESSAGES

    def delivered():
        assert deliver(SOURCE) == MESSAGES
        return MESSAGES

    def prepare(name):
        due(MESSAGES, "one" if name == ONE_KEY else None)

    functions = {
        "rows, a transaction each": one_by_one,
        "rows, 100 in a transaction": together,
        "rows, bulk_create() of 100": in_bulk,
        "deliver(), a key each": delivered,
        ONE_KEY: delivered,
    }
    return {"deliver": compare("Delivering", "messages/s", functions, runs, prepare)}


def until(condition, every=0.02):
    """Wait until a function returns true. Exit if that takes too long."""
    end = monotonic() + PATIENCE
    while not condition():
        if monotonic() > end:
            sys.exit(f"A worker was not ready after {PATIENCE} s.")
        sleep(every)


def waiting():
    from outbox.models import Message

    return Message.objects.using(SOURCE).filter(state=Message.State.WAITING).exists()


@contextmanager
def workers(number, *options):
    """Run this many workers."""
    command = [sys.executable, "manage.py", "deliver", "--follow", *options]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def measure_workers(engine, runs=3, messages=4_000):
    """Time several workers, from the COMMIT of the messages until the last one is delivered."""
    connections = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = 'default' AND backend_type = 'client backend'",
        "mariadb": "SELECT count(*) FROM information_schema.processlist WHERE db = 'default'",
    }

    def connected(number):
        return execute(SOURCE, connections[engine])[0][0] == 1 + number

    rates = {number: [] for number in NUMBERS}
    for run in range(1 + runs):
        for number in NUMBERS:
            with workers(number, "--every=0.1"):
                until(partial(connected, number))
                due(messages)
                start = perf_counter()
                until(lambda: not waiting())
                if run:
                    rates[number].append(messages / (perf_counter() - start))
    figures = {
        f"{number} worker{'s' * (number > 1)}": {
            "wall": summary(rates[number]),
            "wall_ratio": summary(
                rate / one for rate, one in zip(rates[number], rates[1], strict=True)
            ),
        }
        for number in NUMBERS
    }
    return {"workers": show("Workers at once", "messages/s", runs, figures)}


def measure_delay(engine, number=40):
    """Time the way of a message, from the COMMIT until its row is in the other database."""
    from django.db import transaction

    from outbox.delivery import deliver
    from purchases.models import Purchase

    def follow():
        sleep(random.random())  # A worker looks every second.
        write()
        start = perf_counter()
        until(Purchase.objects.all().exists, every=0.002)
        seconds = perf_counter() - start
        until(lambda: not waiting())
        return seconds

    def on_commit():
        with transaction.atomic(using=SOURCE):
            write()
            transaction.on_commit(lambda: times.append(perf_counter()), using=SOURCE)
            transaction.on_commit(partial(deliver, SOURCE), using=SOURCE)
        return perf_counter() - times.pop()

    times, figures = [], {}
    for name, measure in {
        "deliver --follow": follow,
        "deliver() by on_commit()": on_commit,
    }.items():
        clear()
        with workers(1) if measure is follow else nullcontext():
            seconds = []
            for run in range(1 + number):
                for table in TABLES[TARGET]:
                    execute(TARGET, f"DELETE FROM {table}")
                took = measure()
                if run:
                    seconds.append(took * 1e3)
        figures[name] = {"wall": spread(seconds)}
    return {"delay": show("From the COMMIT to the other database", "ms", number, figures)}


def measure_backlog(engine, runs=5):
    """Time deliver_batch() when many messages wait, or are kept. Compare with a short table."""
    from outbox.delivery import deliver_batch

    def rate():
        start = perf_counter()
        delivered = sum(deliver_batch(SOURCE, TARGET)["delivered"] for _ in range(10))
        assert delivered == MESSAGES, delivered
        return delivered / (perf_counter() - start)

    def short():
        due(MESSAGES)
        return rate()

    few = partial(fill, (1 + runs) * MESSAGES)
    cases = {
        f"{WAITING:,} wait, a key each": [partial(fill, WAITING)],
        f"{WAITING:,} wait, the same key": [partial(fill, WAITING, key="one")],
        f"{WAITING:,} wait behind a failure": [partial(fill, WAITING, key="one", aside=True), few],
        f"{KEPT:,} are kept": [partial(fill, KEPT, delivered=True), few],
    }
    figures, references = {"a short table": None}, []
    for name, fills in cases.items():
        # The other programs of the machine may change while the table is filled.
        reference = [short() for _ in range(1 + runs)][1:]
        clear()
        for step in fills:
            step()
        if engine == "postgresql":
            execute(SOURCE, "ANALYZE")
        os.sync()  # Otherwise the new rows are written to the disk while messages are delivered.
        sleep(SETTLE)
        rates = [rate() for _ in range(1 + runs)][1:]
        reference += [short() for _ in range(1 + runs)][1:]
        ratios = (this / median(reference) for this in rates)
        figures[name] = {"wall": summary(rates), "wall_ratio": summary(ratios)}
        references += reference
    figures["a short table"] = {"wall": summary(references)}
    clear()
    return {"backlog": show("Long tables", "messages/s", runs, figures)}


def show(title, unit, runs, figures):
    """Print a table, and return it in the form of compare()."""
    print(f"\n{title}, {unit}, {runs} runs")
    for name, figure in figures.items():
        wall, ratio = figure["wall"], figure.get("wall_ratio", {})
        print(f"  {name:<36}", *wall.values(), f"× {ratio.get('median', 1)}", flush=True)
    return {"unit": unit, "runs": runs, "figures": figures}


def main():
    random.seed(0)
    engine = engine_named()
    if engine == "sqlite":
        packages, alone = versions_of(PACKAGES), []
    else:
        # SQLite has one writer at a time.
        packages, alone = versions_of([*PACKAGES, SERVERS[engine][1]]), [measure_workers]
    with copy_of("functional"):
        set_up(engine)
        results = {}
        for measure in (
            measure_sending,
            measure_delivering,
            measure_delay,
            measure_backlog,
            *alone,
        ):
            results |= measure(engine)
        save("outbox", packages, results, engine)


if __name__ == "__main__":
    main()
