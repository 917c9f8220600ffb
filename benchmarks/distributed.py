"""Engines that shard by themselves, beside our own sharding: the same rows on the same servers.

Run by ``make bench``, from the root of the project: ``python -m benchmarks.distributed postgresql``
(postgres_fdw) or ``mariadb`` (Spider). It starts five servers: a coordinator, three nodes, and a
node that is added. Our own sharding has its ``default`` on the coordinator's server, and its shards
on the servers of the nodes. One database, without sharding, is on the coordinator's server.
"""

import asyncio
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from unittest.mock import patch

from benchmarks import (
    SERVERS,
    compare,
    copy_of,
    create_databases,
    engine_named,
    manage,
    save,
    summary,
    versions_of,
)
from benchmarks.sharding import LATENCY, OURS, TOP, empty, execute, insert, plain_models, unrouted
from livedocs.servers import Server, ServerError, environment

PACKAGES = ["Django"]
CUSTOMERS = 24_000  # each with 1.5 orders
PARTS = ["0", "1", "2"]  # of the shards, and of the nodes, on the same three servers
SHARDS = [f"shard{part}" for part in PARTS]
NODES = [f"node{part}" for part in PARTS]
TABLES = ["customers_customer", "customers_order"]
ONE = "one database"
ENGINES = {"postgresql": "postgres_fdw", "mariadb": "Spider"}
NEW = 0  # the product_id of orders that are written here, and deleted again
# Joins and aggregates of rows that are on the same node.
PLANS = "-c enable_partitionwise_join=on -c enable_partitionwise_aggregate=on"


@contextmanager
def started(engine):
    """Start the servers. Yield them as a dict, by the names that are used here."""
    names = ["coordinator", *PARTS, "3"]
    try:
        with ThreadPoolExecutor() as threads:
            servers = dict(zip(names, threads.map(Server, [engine] * len(names)), strict=True))
    except ServerError as error:
        sys.exit(str(error))
    try:
        yield servers
    finally:
        for server in servers.values():
            server.stop()


def socket_of(server):
    """Return the path of a server's socket."""
    host = Path(server.kind.address["HOST"])
    return host if server.kind.name == "MariaDB" else host / ".s.PGSQL.5432"


def proxies(pairs):
    """Copy what clients send to each socket of the pairs, LATENCY later, to the server's socket."""

    async def copied(reader, writer, delay):
        chunks, clock = asyncio.Queue(), asyncio.get_running_loop().time

        async def read():
            while chunk := await reader.read(1 << 16):
                chunks.put_nowait((clock() + delay, chunk))
            chunks.put_nowait((clock() + delay, b""))

        reading = asyncio.create_task(read())
        with suppress(ConnectionError):
            while True:
                at, chunk = await chunks.get()
                await asyncio.sleep(at - clock())
                if not chunk:
                    break
                writer.write(chunk)
                await writer.drain()
            writer.close()
        reading.cancel()

    async def connected(server, reader, writer):
        answers, questions = await asyncio.open_unix_connection(server)
        await asyncio.gather(copied(reader, questions, LATENCY), copied(answers, writer, 0))

    async def main():
        for here, server in pairs:
            await asyncio.start_unix_server(partial(connected, server), here)
            os.chmod(here, 0o777)  # the coordinator runs as another user
        await asyncio.Event().wait()

    asyncio.run(main())


@contextmanager
def far(servers):
    """Yield for each server the HOST of a proxy, through which an answer takes LATENCY longer."""
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        hosts, pairs = {}, []
        for name, server in servers.items():
            there = Path(folder) / name
            there.mkdir()
            here = there / socket_of(server).name
            hosts[name] = str(here if server.kind.name == "MariaDB" else there)
            pairs.append((here, socket_of(server)))
        process = multiprocessing.get_context("spawn").Process(
            target=proxies, args=[pairs], daemon=True
        )
        process.start()
        while not all(here.exists() for here, _ in pairs):
            sleep(0.01)
        try:
            yield hosts
        finally:
            process.kill()
            process.join()


def write_settings(name, **settings):
    """Write a module of settings into the current folder."""
    lines = [f"{setting} = {value!r}\n" for setting, value in settings.items()]
    Path(f"{name}.py").write_text("from shop.settings import *\n\n" + "".join(lines))


def set_up(engine, servers, hosts):
    """Fill our own shards. Copy the rows to the tables of the engine, and to one database."""
    print(f"{CUSTOMERS:,} customers with their orders, on {engine}…", flush=True)

    def database(alias, server, host=None):
        user = "postgres" if engine == "postgresql" else "django"  # postgres_fdw: an administrator
        address = servers[server].kind.address | {"USER": user}
        entry = {**SERVERS[engine][0], "NAME": alias, **address, "PASSWORD": "", "OPTIONS": {}}
        if alias.startswith("cluster") and engine == "postgresql":
            entry |= {"ENGINE": "distributed.postgresql", "OPTIONS": {"options": PLANS}}
        return entry | ({"HOST": host} if host else {})

    parts = [*PARTS, "3"]
    nodes = {f"node{part}": database(f"node{part}", part) for part in parts}
    far_nodes = {f"node{part}": database(f"node{part}", part, hosts[part]) for part in parts}
    shards = {f"shard{part}": database(f"shard{part}", part) for part in parts}
    names = ["default", "one", "cluster", "cluster_far"]
    coordinator = {name: database(name, "coordinator") for name in names}
    for name, its_nodes in [("cluster", nodes), ("cluster_far", far_nodes)]:
        write_settings(f"on_{name}", DATABASES={"default": coordinator[name]} | its_nodes, NODES=NODES)
    write_settings(
        "on_server",
        DATABASES=coordinator | shards | nodes,
        DATABASE_ROUTERS=["sharding.routers.ShardRouter"],
        SHARDS=SHARDS,
        DEBUG=False,
    )
    os.environ["DJANGO_SETTINGS_MODULE"] = "on_server"
    import django

    django.setup()
    from django.db import connections

    from customers.models import Customer, Order
    from products.models import Product

    create_databases([*coordinator, *shards, *nodes])
    if engine == "mariadb":
        execute("cluster", "INSTALL PLUGIN IF NOT EXISTS spider SONAME 'ha_spider'")
    manage("migrate")
    manage("migrate_shards")
    manage("populate", f"--customers={CUSTOMERS}")
    for node in NODES:
        manage("migrate", "customers", f"--database={node}", "--settings=on_cluster")
    for name in ["cluster", "cluster_far"]:
        manage("migrate", f"--settings=on_{name}")
    for alias in ["one"]:
        with connections[alias].schema_editor() as editor:
            for model in [Product, Customer, Order]:
                editor.create_model(model)
    columns = {
        model._meta.db_table: ", ".join(field.column for field in model._meta.concrete_fields)
        for model in [Product, Customer, Order]
    }
    products = execute("default", f"SELECT {columns['products_product']} FROM products_product")
    for alias in ["one", "cluster", "cluster_far"]:
        insert(alias, "products_product", products, f"({columns['products_product']})")
    # By table and part: the rows, in the order of their keys.
    return {
        (table, part): (
            f"({columns[table]})",
            execute(f"shard{part}", f"SELECT {columns[table]} FROM {table} ORDER BY id"),
        )
        for table in TABLES
        for part in PARTS
    }


def load_shards(rows):
    for (table, part), (columns, its_rows) in rows.items():
        insert(f"shard{part}", table, its_rows, columns)


def load(alias, rows):
    for (table, _), (columns, its_rows) in rows.items():
        insert(alias, table, its_rows, columns)


def clear(alias):
    """Delete all customers and orders of a database."""
    empty(alias, TABLES[::-1])


def analyze(engine):
    """Update the statistics of all tables, as an administrator does after a bulk load."""
    for alias in [*SHARDS, *NODES, "one", "cluster", "cluster_far"]:
        for table in TABLES if engine == "postgresql" else []:
            execute(alias, f"ANALYZE {table}")


def measure_load(engine, rows, runs=5):
    """Time loading all rows, in the fastest way of the driver."""
    number = sum(len(its_rows) for _, its_rows in rows.values())

    def prepare(name):
        for alias in {OURS: SHARDS, ONE: ["one"], ENGINES[engine]: NODES}[name]:
            clear(alias)

    def loaded(function, *arguments):
        function(*arguments)
        return number

    functions = {
        OURS: partial(loaded, load_shards, rows),
        ENGINES[engine]: partial(loaded, load, "cluster", rows),
        ONE: partial(loaded, load, "one", rows),
    }
    way = "COPY" if engine == "postgresql" else "executemany"
    title = f"Bulk load by {way}: {number:,} customers and orders"
    result = compare(title, "rows/s", functions, runs, prepare)
    analyze(engine)
    return {"load": result | {"rows": number}}


def ours():
    """Return the questions, as functions of the keys of a customer and of an order, to our app."""
    from django.db.models import F, Sum

    from customers.models import Customer, Order
    from products.models import Product
    from sharding import gather

    orders, newest = Order.objects.all(), Order.objects.order_by("-created", "-pk")
    spent = Customer.objects.annotate(spent=Sum("orders__price")).filter(spent__gt=0)

    def with_orders(pk, order):
        customer = Customer.objects.get(pk=pk)
        return list(customer.orders.all())

    def products(pk, order):
        sold = Counter()
        for part in gather.each(orders, lambda rows: by_product(rows)).values():
            sold.update(dict(part))
        names = Product.objects.in_bulk(sold)
        return {names[product].name: number for product, number in sold.items()}

    return {
        "get": lambda pk, order: Customer.objects.get(pk=pk),
        "with_orders": with_orders,
        "get_order": lambda pk, order: Order.objects.get(pk=order),
        "get_order_of_customer": lambda pk, order: Order.objects.get(pk=order, customer=pk),
        "create": lambda pk, order: Order.objects.create(
            customer_id=pk, product_id=NEW, price="19.99"
        ),
        "update": lambda pk, order: Order.objects.filter(pk=order, customer=pk).update(
            price=F("price") + 0
        ),
        "update_by_key": lambda pk, order: Order.objects.filter(pk=order).update(
            price=F("price") + 0
        ),
        "top": lambda pk, order: gather.top(newest, TOP),
        "count": lambda pk, order: gather.count(orders),
        "sum": lambda pk, order: gather.aggregate(orders, total=Sum("price"))["total"],
        "spenders": lambda pk, order: gather.top(spent.order_by("-spent", "-pk"), TOP),
        "products": products,
    }


def by_product(rows):
    from django.db.models import Sum

    sold = rows.order_by().values("product_id").annotate(sold=Sum("quantity"))
    return list(sold.values_list("product_id", "sold"))


def plain(alias):
    """Return the same questions to one database, as plain Django writes them."""
    from django.db.models import F, Sum
    from django.utils import timezone

    from sharding.keys import bucket_of, new_key

    models = plain_models()
    customers, orders = (m.objects.using(alias) for m in (models.Customer, models.Order))
    newest = orders.order_by("-created", "-pk")
    # Grouped from the side of the orders: the app of these models is not installed.
    customer = [f"customer__{field.name}" for field in models.Customer._meta.fields]
    spent = orders.values(*customer).annotate(spent=Sum("price"))

    def products(pk, order):
        return dict(
            execute(
                alias,
                "SELECT name, sum(quantity) FROM customers_order JOIN products_product "
                "ON products_product.id = product_id GROUP BY products_product.id, name",
            )
        )

    return {
        "get": lambda pk, order: customers.get(pk=pk),
        "with_orders": lambda pk, order: list(customers.get(pk=pk).orders.all()),
        "get_order": lambda pk, order: orders.get(pk=order),
        "get_order_of_customer": lambda pk, order: orders.get(pk=order, customer=pk),
        "create": lambda pk, order: orders.create(
            pk=new_key(bucket_of(pk)),
            customer_id=pk,
            product_id=NEW,
            price="19.99",
            created=timezone.now(),
        ),
        "update": lambda pk, order: orders.filter(pk=order, customer=pk).update(
            price=F("price") + 0
        ),
        "update_by_key": lambda pk, order: orders.filter(pk=order).update(price=F("price") + 0),
        "top": lambda pk, order: list(newest[:TOP]),
        "count": lambda pk, order: orders.count(),
        "sum": lambda pk, order: orders.aggregate(total=Sum("price"))["total"],
        "spenders": lambda pk, order: [
            models.Customer(*row)
            for row in spent.order_by("-spent", "-customer__id").values_list(*customer)[:TOP]
        ],
        "products": products,
    }


def context(name):
    """Return the context in which a candidate is queried: plain models need no router."""
    return ExitStack() if name == OURS else unrouted()


# By question: its title, how often it is asked in a round, and how many rounds there are.
QUESTIONS = {
    "get": ("A customer, by key", 20, 61),
    "with_orders": ("A customer, and the customer's orders", 20, 41),
    "get_order": ("An order, by its key alone", 20, 41),
    "get_order_of_customer": ("An order, by its key and its customer's", 20, 41),
    "create": ("An order is created", 10, 41),
    "update": ("An order is updated, by its key and its customer's", 10, 41),
    "update_by_key": ("An order is updated, by its key alone", 10, 41),
    "top": (f"The {TOP} newest orders", 1, 31),
    "count": ("Count of orders", 1, 31),
    "sum": ("Sum of the orders' prices", 1, 31),
    "spenders": (f"Join: the {TOP} customers who spent most", 1, 7),
    "products": ("Join with products: how many of each were sold", 1, 15),
}


def measure_questions(engine, rows, latency=False):
    """Time all questions."""
    of_engine = "cluster_far" if latency else "cluster"
    candidates = {OURS: ours(), ENGINES[engine]: plain(of_engine), ONE: plain("one")}
    # Pairs of a customer's key and an order's.
    pairs = [(row[1], row[0]) for part in PARTS for row in rows["customers_order", part][1]]
    results = {}

    def asked(name, question, number):
        with context(name):
            for pk, order in random.sample(pairs, number):
                candidates[name][question](pk, order)
        return number

    def answer(name, question):
        with context(name):
            found = candidates[name][question](*pairs[0])
        return [row.pk for row in found] if isinstance(found, list) else getattr(found, "pk", found)

    for question, (title, number, runs) in QUESTIONS.items():
        if question != "create":
            first, *others = (answer(name, question) for name in candidates)
            assert all(other == first for other in others), (question, first, others)
        if latency:
            title, number = f"{title}; each server {LATENCY * 1e3:g} ms away", min(number, 2)
            runs = min(runs, 11)
        functions = {name: partial(asked, name, question, number) for name in candidates}
        result = compare(title, "ms", functions, runs)
        results[f"{question}_with_latency" if latency else question] = result
        if question == "create":
            for alias in [*SHARDS, *NODES, "one"]:
                execute(alias, f"DELETE FROM customers_order WHERE product_id = {NEW}")
    return results


@contextmanager
def moved_away(hosts):
    from django.conf import settings
    from django.db import connections

    from sharding import scatter

    before = {alias: database["HOST"] for alias, database in settings.DATABASES.items()}

    def move(places):
        for alias, host in places.items():
            connections[alias].settings_dict["HOST"] = settings.DATABASES[alias]["HOST"] = host
            connections[alias].close()
            scatter.close(alias)

    move({a: hosts[a[-1] if a[-1].isdigit() else "coordinator"] for a in before})
    try:
        yield
    finally:
        move(before)


def main():
    random.seed(0)
    engine = engine_named()
    if engine not in ENGINES:
        sys.exit(f"Name an engine: python -m benchmarks.distributed {' or '.join(ENGINES)}")
    packages = versions_of([*PACKAGES, SERVERS[engine][1]])
    with started(engine) as servers, far(servers) as hosts, copy_of("distributed"):
        rows = set_up(engine, servers, hosts)
        results = measure_load(engine, rows)
        results |= measure_questions(engine, rows)
        with moved_away(hosts):
            results |= measure_questions(engine, rows, latency=True)
        save("distributed", packages, results, engine)


if __name__ == "__main__":
    main()
