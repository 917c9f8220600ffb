"""Our sharding beside djanquiltdb: the same rows, on the same server of PostgreSQL.

Run on Python 3.14 with the packages of ``requirements-peer.txt``, from the root of the project:
``python -m benchmarks.peer``. The address of the server is in libpq's variables. The user may
create databases. Each candidate has its own settings, so it is a process of its own. This process
gives them turns.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep

from benchmarks import HERE, compare, copy_of, manage, save, start_django, summary, versions_of

OURS, PEER = "examples/sharding", "djanquiltdb"
CUSTOMERS = 6_000  # each with 2 orders
BIG = 5_000  # orders of the customer who moves
TOP = 20
LOADED = 2_000  # orders in a bulk load


class Ours:
    def __init__(self):
        start_django("postgresql")
        manage("migrate")
        manage("migrate_shards")
        from customers.models import Customer, Order
        from sharding import gather

        self.Customer, self.Order, self.gather = Customer, Order, gather
        rows = [Customer(name="Ada Mudge", email="ada@clocks.example") for _ in range(CUSTOMERS)]
        self.keys = [customer.pk for customer in Customer.objects.bulk_create(rows)]
        self.bulk([key for key in self.keys for _ in range(2)])
        self.big, self.buckets = self.keys[0], None
        self.bulk([self.big] * BIG)

    def get(self, key):
        return self.Customer.objects.get(pk=key)

    def create(self, key):
        self.Order.objects.create(customer_id=key, product_id=1, price=5)

    def bulk(self, keys):
        self.Order.objects.bulk_create(
            self.Order(customer_id=key, product_id=1, price=5) for key in keys
        )

    def top(self):
        assert len(self.gather.top(self.Order.objects.order_by("-created"), TOP)) == TOP

    def count(self):
        self.gather.count(self.Order.objects.all())

    def total(self):
        from django.db.models import Sum

        self.gather.aggregate(self.Order.objects.all(), total=Sum("price"))

    def move(self):
        """Move the bucket of the customer to another shard. Return the number of rows."""
        from sharding.buckets import read_map
        from sharding.keys import bucket_of
        from sharding.reshard import reshard

        bucket = bucket_of(self.big)
        target = "shard1" if read_map().aliases[bucket] == "shard2" else "shard2"
        return reshard([bucket], target)[1]

    def move_shard(self):
        """Move the buckets of the customer's first shard. Return the number of rows."""
        from sharding.buckets import read_map
        from sharding.keys import bucket_of
        from sharding.reshard import reshard

        source = read_map().aliases[bucket_of(self.big)]
        self.buckets = self.buckets or read_map().buckets(source)
        return reshard(self.buckets, "shard1" if source == "shard2" else "shard2")[1]


class Peer:
    def __init__(self):
        os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
        manage("makemigrations", "customers")
        manage("migrate")
        import django

        django.setup()
        from djanquiltdb import State
        from djanquiltdb.utils import (
            create_template_schema,
            get_all_databases,
            use_shard,
            use_shard_for,
        )

        from customers.models import Customer, Home, Order, Shard

        self.Customer, self.Home, self.Order, self.Shard = Customer, Home, Order, Shard
        self.use_shard, self.use_shard_for = use_shard, use_shard_for
        for node in get_all_databases():
            create_template_schema(node)
        for number in range(4):
            alias, node = f"shard{number}", ["default", "node1"][number % 2]
            shard = Shard(alias=alias, schema_name=alias, node_name=node, state=State.ACTIVE)
            shard.save()
            shard.save(using="node1", force_insert=True)
        self.shards = list(Shard.objects.order_by("id"))
        self.keys = []
        homes = []
        for shard in self.shards:
            with use_shard(shard):
                rows = [
                    Customer(name="Ada Mudge", email="ada@clocks.example")
                    for _ in range(CUSTOMERS // 4)
                ]
                keys = [customer.pk for customer in Customer.objects.bulk_create(rows)]
            self.keys += keys
            homes += [Home(customer=key, shard=shard) for key in keys]
        Home.objects.bulk_create(homes)
        self.bulk([key for key in self.keys for _ in range(2)])
        self.big = self.keys[0]
        self.bulk([self.big] * BIG)

    def get(self, key):
        with self.use_shard_for(key):
            return self.Customer.objects.get(pk=key)

    def create(self, key):
        with self.use_shard_for(key):
            self.Order.objects.create(customer_id=key, product_id=1, price=5)

    def bulk(self, keys):
        homes = self.Home.objects.filter(customer__in=set(keys)).values_list("customer", "shard_id")
        home = dict(homes)
        for shard in self.Shard.objects.all():
            with self.use_shard(shard):
                self.Order.objects.bulk_create(
                    self.Order(customer_id=key, product_id=1, price=5)
                    for key in keys
                    if home[key] == shard.pk
                )

    def each(self, ask):
        """Return the answers of all shards, one after the other."""
        answers = []
        for shard in self.Shard.objects.all():
            with self.use_shard(shard):
                answers.append(ask(self.Order.objects))
        return answers

    def top(self):
        found = self.each(lambda orders: list(orders.order_by("-created")[:TOP]))
        rows = sorted(sum(found, []), key=lambda order: order.created, reverse=True)
        assert len(rows[:TOP]) == TOP

    def count(self):
        sum(self.each(lambda orders: orders.count()))

    def total(self):
        from django.db.models import Sum

        sum(self.each(lambda orders: orders.aggregate(total=Sum("price"))["total"]))

    def command(self, *arguments, **options):
        from django.core.management import call_command

        call_command(*arguments, quiet=True, **options)

    def move(self):
        """Move the customer to another shard of the same node. Return the number of rows."""
        home = self.Home.objects.select_related("shard").get(customer=self.big)
        with self.use_shard(home.shard):
            rows = 1 + self.Order.objects.filter(customer=self.big).count()
        self.command(
            "move_data_to_shard",
            source_shard_alias=home.shard.alias,
            target_shard_alias="shard2" if home.shard.alias == "shard0" else "shard0",
            model_name="customers.Customer",
            root_object_id=str(self.big),
            no_input=True,
        )
        return rows

    def move_shard(self):
        """Move the customer's shard to the other node. Return the number of rows."""
        shard = self.Home.objects.select_related("shard").get(customer=self.big).shard
        with self.use_shard(shard):
            rows = self.Order.objects.count() + self.Customer.objects.count()
        source = shard.node_name
        self.command(
            "move_shard_to_node",
            source_shard_alias=shard.alias,
            target_node_alias="node1" if source == "default" else "default",
            no_input=True,
        )
        self.command(
            "purge_schema", schema_name=shard.schema_name, node_alias=source, interactive=False
        )
        return rows


def moving(shop, move):
    """Move rows while a thread writes to the customer. Return the rows, the seconds, and the wait.

    The wait is the longest time in seconds from a writer's first attempt until its write succeeds.
    """
    waits, failures, stop = [], 0, threading.Event()

    def write():
        nonlocal failures
        while not stop.is_set():
            start = perf_counter()
            while True:
                try:
                    shop.create(shop.big)
                    break
                except Exception:  # any failure is one for the writer
                    failures += 1
                    sleep(0.01)
            waits.append(perf_counter() - start)
            sleep(0.01)

    writer = threading.Thread(target=write)
    writer.start()
    sleep(0.3)
    start = perf_counter()
    try:
        rows = move()
        seconds = perf_counter() - start
        sleep(0.3)
    finally:
        stop.set()
        writer.join()
    return {"rows": rows, "seconds": seconds, "wait": max(waits), "failures": failures}


def serve(kind):
    """Fill a shop. Then do each operation that a line of the standard input names."""
    random.seed(0)
    answers, sys.stdout = sys.stdout, sys.stderr
    shop = kind()
    operations = {
        "get": (200, lambda: shop.get(random.choice(shop.keys))),
        "create": (100, lambda: shop.create(random.choice(shop.keys))),
        "top": (20, shop.top),
        "count": (20, shop.count),
        "sum": (20, shop.total),
        "load": (1, lambda: shop.bulk(random.choices(shop.keys, k=LOADED))),
    }
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        name = line.strip()
        if name in operations:
            times, operation = operations[name]
            for _ in range(times):
                operation()
            answer = LOADED if name == "load" else times
        else:
            answer = moving(shop, getattr(shop, name))
        print(json.dumps(answer), file=answers, flush=True)


def worker(name):
    with TemporaryDirectory() as folder, suppress(BrokenPipeError):
        if name == OURS:
            with copy_of("sharding"):
                serve(Ours)
        else:
            copy = Path(folder) / "shop"
            shutil.copytree(HERE / "peer_shop", copy)
            os.chdir(copy)
            sys.path.insert(0, str(copy))
            serve(Peer)


def main():
    packages = versions_of(["Django", "djanquiltdb", "psycopg"])
    from django.conf import settings

    database = {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres"}
    settings.configure(DATABASES={"default": database})
    from django.db import connection

    with connection.cursor() as cursor:
        for name in ("shop0", "shop1"):
            cursor.execute(f"CREATE DATABASE {name}")
    workers = {
        name: subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peer", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in (OURS, PEER)
    }

    def ask(name, operation):
        print(operation, file=workers[name].stdin, flush=True)
        return answer(name)

    def answer(name):
        line = workers[name].stdout.readline()
        return json.loads(line) if line else sys.exit(f"{name} stopped: see its message above.")

    for name, process in workers.items():
        if process.stdout.readline() != "ready\n":
            sys.exit(f"{name} did not start: see its message above.")
    results = {}
    units = {"get": "ms", "create": "ms", "top": "ms", "count": "ms", "sum": "ms", "load": "rows/s"}
    for operation, unit in units.items():
        functions = {name: partial(ask, name, operation) for name in workers}
        measured = results[operation] = compare(operation, unit, functions, runs=11)
        for figures in measured["figures"].values():  # the work is not in this process
            del figures["cpu"], figures["cpu_ratio"]
    for operation in ("move", "move_shard"):
        results |= moves(operation, ask, runs=4)
    for process in workers.values():
        process.stdin.close()
        process.wait()
    save("peer", packages, results, "postgresql")


def moves(operation, ask, runs):
    """Time a move in turn, after one round that does not count. Return rates, and waits."""
    found = {OURS: [], PEER: []}
    for run in range(1 + runs):
        for name, rounds in found.items():
            one = ask(name, operation)
            print(f"  {operation}, {name}: {one}", flush=True)
            if run:
                rounds.append(one)
    tables = {
        operation: ("rows/s", lambda one: one["rows"] / one["seconds"]),
        f"{operation}_time": ("s", lambda one: one["seconds"]),
        f"{operation}_wait": ("s", lambda one: one["wait"]),
    }
    results = {}
    for table, (unit, value) in tables.items():
        results[table] = {"unit": unit, "runs": runs, "figures": {}}
        for name, rounds in found.items():
            pairs = zip(rounds, found[OURS], strict=True)
            results[table]["figures"][name] = {
                "wall": summary(map(value, rounds)),
                "wall_ratio": summary(value(one) / value(other) for one, other in pairs),
            }
    failures = {name: sum(one["failures"] for one in rounds) for name, rounds in found.items()}
    results[f"{operation}_wait"]["failures"] = failures
    results[operation]["rows"] = {name: rounds[-1]["rows"] for name, rounds in found.items()}
    return results


if __name__ == "__main__":
    if sys.argv[1:]:
        worker(sys.argv[1])
    else:
        main()
