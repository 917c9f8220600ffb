"""The processes of the test in which reshard is killed: who writes, who reads, and who moves.

Each role runs in a folder that has the project and its databases: ``load.py ROLE SEED``. Writers
and readers go on until a file ``stop`` exists. They print their operations, and the answers that
they got, as JSON. At the end, ``check`` compares the databases with these answers.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from random import Random

sys.path.insert(0, os.getcwd())
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

import django  # noqa: E402

django.setup()

from django.conf import settings  # noqa: E402
from django.db import connections  # noqa: E402
from django.db.backends.base.base import BaseDatabaseWrapper  # noqa: E402
from django.db.models import Sum  # noqa: E402

from customers.models import Customer, Order  # noqa: E402
from sharding import buckets, gather  # noqa: E402
from sharding.keys import BUCKETS, bucket_of, new_key  # noqa: E402
from sharding.reshard import reshard  # noqa: E402
from sharding.writing import writing  # noqa: E402

buckets.LEASE = 0.1
MOVING = [0, 1, 255, 300, 511, 512, 700, 1023]
STILL = 160  # customers whom nobody changes, with two orders each


def stopped():
    return Path("stop").exists()


def prepare(random):
    """Make the customers whom nobody changes."""
    for number in range(STILL):
        customer = Customer(id=new_key(MOVING[number % len(MOVING)]), name="still")
        customer.save()
        for quantity in (1, 2):
            Order.objects.create(customer=customer, product_id=7, quantity=quantity, price=1)


def write(random):
    """Change customers of one's own, by all ways to write; each time, look at what is there."""
    expected, writes, slowest = {}, 0, 0
    me = f"writer {os.getpid()}"
    while not stopped():
        start = time.monotonic()
        way = random.randrange(7) if expected else 0
        if way == 0:
            number = random.choice(MOVING)
            if random.random() < 0.5:
                key = Customer.objects.create(id=new_key(number), name=me, email="0").pk
            else:
                (customer,) = Customer.objects.bulk_create(
                    [Customer(id=new_key(number), name=me, email="0")]
                )
                key = customer.pk
            expected[key] = [0, set()]
        else:
            key = random.choice(list(expected))
            state = expected[key]
            if way == 1:
                Customer.objects.filter(pk=key).update(email=str(state[0] + 1))
                state[0] += 1
            elif way == 2:
                customer = Customer.objects.get(pk=key)
                customer.email = str(state[0] + 1)
                customer.save()
                state[0] += 1
            elif way == 3:
                order = Customer.objects.get(pk=key).orders.create(product_id=7, price=1)
                state[1].add(order.pk)
            elif way == 4:
                with writing({bucket_of(key)}):
                    order = Order.objects.create(customer_id=key, product_id=8, price=1)
                    Customer.objects.filter(pk=key).update(email=str(state[0] + 1))
                state[0] += 1
                state[1].add(order.pk)
            elif way == 5 and state[1]:
                Order.objects.get(pk=state[1].pop()).delete()
            elif way == 6 and len(expected) > 50:
                Customer.objects.get(pk=key).delete()
                del expected[key]
        writes += 1
        slowest = max(slowest, time.monotonic() - start)
        if key in expected:
            customer = Customer.objects.get(pk=key)
            seen = int(customer.email), {order.pk for order in customer.orders.all()}
            assert seen == tuple(expected[key]), (key, seen, expected[key])
        time.sleep(random.uniform(0, 0.004))
    for key in expected:
        expected[key] = [expected[key][0], sorted(expected[key][1])]
    return {"expected": expected, "writes": writes, "slowest": slowest}


def read(random):
    """Look at the customers whom nobody changes: at all of them, and at one."""
    still = Customer.objects.filter(name="still")
    orders = Order.objects.filter(customer__name="still")
    keys = sorted(customer.pk for customer in gather.top(still, 2 * STILL))
    assert len(keys) == len(set(keys)) == STILL
    reads = 0
    while not stopped():
        way = reads % 6
        if way == 0:
            assert (count := gather.count(still)) == STILL, count
        elif way == 1:
            total = gather.aggregate(orders, total=Sum("quantity"))["total"]
            assert total == 3 * STILL, total
        elif way == 2:
            seen = [customer.pk for customer in gather.top(still.order_by("pk"), 2 * STILL)]
            assert seen == keys, (len(seen), len(set(seen)))
        elif way == 3:
            some = random.sample(keys, 20)
            assert Customer.objects.in_bulk(some).keys() == set(some)
        elif way == 4:
            assert Customer.objects.get(pk=random.choice(keys)).orders.count() == 2
        else:
            key = random.choice(keys)
            quantities = Order.objects.filter(customer=key).values_list("quantity", flat=True)
            assert sorted(quantities) == [1, 2], list(quantities)
        reads += 1
    return {"reads": reads}


def die_after(ticks):
    """Have this process kill itself after so many statements and commits, or before the next."""

    def tick():
        nonlocal ticks
        ticks -= 1
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
    for connection in connections.all():
        connection.execute_wrappers.append(
            lambda execute, *args: around(execute)(*args),
        )


def move(random):
    """Move buckets about; kill who does so, by the clock or by what was done; and again."""
    killed = finished = 0
    while killed < int(os.environ["KILLS"]):
        numbers, target = (
            random.sample(MOVING, random.randint(1, 5)),
            random.choice(settings.SHARDS),
        )
        by_clock = random.random() < 0.3
        child = os.fork()
        if not child:
            try:
                if not by_clock:
                    die_after(random.randrange(400))
                reshard(numbers, target)
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        if by_clock:
            time.sleep(random.uniform(0, 8 * buckets.LEASE))
            os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, -signal.SIGKILL), status
        killed += status != 0
        finished += status == 0
    reshard(MOVING, random.choice(settings.SHARDS))
    return {"killed": killed, "finished": finished}


def select(alias, sql):
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def check(random):
    """Compare the databases with what the writers were answered, in standard input; no router."""
    assert not select("default", "SELECT 1 FROM sharding_bucket WHERE uncounted_on IS NOT NULL")
    aliases = dict(select("default", "SELECT number, alias FROM sharding_bucket"))
    customers, orders, holders = {}, {}, {}
    for alias in settings.SHARDS:
        for (number,) in select(alias, "SELECT number FROM fences_heldbucket"):
            assert holders.setdefault(number, alias) == alias == aliases[number]
        for key, name, email in select(alias, "SELECT id, name, email FROM customers_customer"):
            assert key not in customers and aliases[bucket_of(key)] == alias
            customers[key] = name, email
        for key, customer in select(alias, "SELECT id, customer_id FROM customers_order"):
            assert key not in orders and aliases[bucket_of(key)] == alias
            orders[key] = customer
    assert len(holders) == BUCKETS
    expected = {int(key): state for each in json.load(sys.stdin) for key, state in each.items()}
    theirs = {key: email for key, (name, email) in customers.items() if name != "still"}
    assert theirs == {key: str(count) for key, (count, _) in expected.items()}
    assert {key: customer for key, customer in orders.items() if customer in theirs} == {
        order: key for key, (_, orders) in expected.items() for order in orders
    }
    return {"customers": len(customers), "orders": len(orders)}


ROLES = {"prepare": prepare, "write": write, "read": read, "move": move, "check": check}


def main(roles):
    _, role, seed = sys.argv
    print(json.dumps(roles[role](Random(f"{role} {seed}"))))


if __name__ == "__main__":
    main(ROLES)
