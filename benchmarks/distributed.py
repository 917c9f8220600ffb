"""Engines that shard by themselves, beside our own sharding: the same rows on the same servers.

Run by ``make bench``, from the root of the project: ``python -m benchmarks.distributed postgresql``
(postgres_fdw) or ``mariadb`` (Spider). It starts five servers: a coordinator, three nodes, and a
node that is added. Our own sharding has its ``default`` on the coordinator's server, and its shards
on the servers of the nodes. One database, without sharding, is on the coordinator's server.
"""

import asyncio
import io
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
# Parents first: the tables, and the column that says on which node a row is.
TABLES = {"customers_customer": "id", "customers_order": "customer_id"}
ONE = "one database"
ENGINES = {"postgresql": "postgres_fdw", "mariadb": "Spider"}
PATIENCE = 60  # seconds
# With these, Spider sends a query for many rows of a join at once, and not for each row.
BATCHED = "Spider, in batches"
BATCHES = {"join_cache_level": "8", "optimizer_switch": "'mrr=on,mrr_cost_based=off'"}
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
            if not process.is_alive():
                sys.exit("The proxies did not start.")
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
        if alias.startswith("cluster"):
            entry["ENGINE"] = entry["ENGINE"].replace("django.db.backends", "distributed")
            if engine == "postgresql":
                entry["OPTIONS"] = {"options": PLANS}
        return entry | ({"HOST": host} if host else {})

    parts = [*PARTS, "3"]
    nodes = {f"node{part}": database(f"node{part}", part) for part in parts}
    far_nodes = {f"node{part}": database(f"node{part}", part, hosts[part]) for part in parts}
    shards = {f"shard{part}": database(f"shard{part}", part) for part in parts}
    names = ["default", "one", "cluster", "cluster_far"]
    on_coordinator = {name: database(name, "coordinator") for name in names}
    for name, its_nodes in [("cluster", nodes), ("cluster_far", far_nodes)]:
        write_settings(
            f"on_{name}", DATABASES={"default": on_coordinator[name]} | its_nodes, NODES=NODES
        )
    write_settings(
        "on_server",
        DATABASES=on_coordinator | shards | nodes,
        DATABASE_ROUTERS=["sharding.routers.ShardRouter"],
        SHARDS=SHARDS,
        DEBUG=False,
    )
    os.environ["DJANGO_SETTINGS_MODULE"] = "on_server"
    import django

    django.setup()
    from django.db import connections

    from customers.models import Customer, Order
    from distributed.engines import ENGINES as SQL
    from products.models import Product

    create_databases([*on_coordinator, *shards, *nodes])
    for name in ["cluster", "cluster_far"]:
        coordinator = connections[name]
        for statement in SQL[coordinator.vendor].allow(coordinator):
            execute(name, statement)
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
    empty(alias, [*TABLES][::-1])


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
        return {product.name: sold[pk] for pk, product in names.items()}

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

    def asked_in_batches(question):
        for variable, value in BATCHES.items():
            execute(of_engine, f"SET {variable} = {value}")
        asked(ENGINES[engine], question, 1)
        for variable in BATCHES:
            execute(of_engine, f"SET {variable} = DEFAULT")
        return 1

    def too_slow(question):
        """Ask Spider once, for no more than PATIENCE seconds. Return how that ended."""
        from django.db import DatabaseError

        execute(of_engine, f"SET max_statement_time = {PATIENCE}")
        start = perf_counter()
        try:
            asked(ENGINES[engine], question, 1)
        except DatabaseError as error:
            said = f"{type(error).__name__}: {error}"
        else:
            said = "answers"
        execute(of_engine, "SET max_statement_time = DEFAULT")
        print(f"\n{question}, each server away: {said}, {perf_counter() - start:.1f} s", flush=True)
        return said

    def answer(name, question):
        with context(name):
            found = candidates[name][question](*pairs[0])
        return [row.pk for row in found] if isinstance(found, list) else getattr(found, "pk", found)

    for question, (title, number, runs) in QUESTIONS.items():
        if question != "create" and not latency:
            first, *others = (answer(name, question) for name in candidates)
            assert all(other == first for other in others), (question, first, others)
        if latency:
            title, number = f"{title}; each server {LATENCY * 1e3:g} ms away", min(number, 2)
            runs = min(runs, 11)
        functions = {name: partial(asked, name, question, number) for name in candidates}
        if (engine, question) == ("mariadb", "spenders"):
            functions[BATCHED] = partial(asked_in_batches, question)
            if latency:
                del functions[ENGINES[engine]]
                results[f"{question}_too_slow"] = {"seconds": PATIENCE, "says": too_slow(question)}
        result = compare(title, "ms", functions, runs)
        results[f"{question}_with_latency" if latency else question] = result
        if question == "create":
            for alias in [*SHARDS, *NODES, "one"]:
                execute(alias, f"DELETE FROM customers_order WHERE product_id = {NEW}")
    return results


def measure_fetching(engine, runs=21):
    """Time two questions with other numbers of rows that postgres_fdw fetches at once."""
    if engine != "postgresql":
        return {}
    questions = plain("cluster")
    results = {}

    def set_size(how):
        for node in NODES:
            execute("cluster", f"ALTER FOREIGN TABLE customers_order_{node} OPTIONS ({how})")

    def ask(question):
        with unrouted():
            questions[question](None, None)
        return 1

    def prepare(question, size):
        set_size(f"SET fetch_size '{size}'")
        ask(question)  # makes the plan again

    set_size("ADD fetch_size '1000'")
    for question in ["top", "count"]:
        title = f"{QUESTIONS[question][0]}, by fetch_size"
        functions = {size: partial(ask, question) for size in ["1000", "10000", "100"]}
        results[f"{question}_fetched"] = compare(
            title, "ms", functions, runs, partial(prepare, question)
        )
    set_size("DROP fetch_size")
    return results


@contextmanager
def moved_away(hosts):
    """Let this process reach all servers through the proxies, and the coordinator the nodes."""
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


@contextmanager
def in_thread(repeat):
    """Call ``repeat(answer)`` again and again in a thread, until the block ends.

    Yields the answer, a list, to which ``repeat`` adds. The thread has connections of its own.
    """
    from django.db import connections

    answer, ended = [], threading.Event()

    def run():
        try:
            while not ended.is_set():
                repeat(answer)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(run)
        try:
            yield answer
        finally:
            ended.set()
            running.result()


def new_customer(candidate, **fields):
    """Create a customer, in a random bucket. Return the key."""
    from django.utils import timezone

    from customers.models import Customer
    from sharding.keys import new_key

    if candidate == OURS:
        return Customer.objects.create(**fields).pk
    alias = "one" if candidate == ONE else "cluster"
    objects = plain_models().Customer.objects.using(alias)
    return objects.create(pk=new_key(), joined=timezone.now(), **fields).pk


def watched(name, change, errors):
    """Call ``change()`` while a thread creates customers, and a thread counts the others.

    Returns the seconds of the change (``move``), of the slowest write and of the slowest count, and
    the seconds from the first ``wrong`` count to the last. Also returns how many writes succeeded,
    and how many were refused. Fails if a row that was written is not there at the end.
    """
    from customers.models import Customer
    from sharding import gather

    old = {"email__endswith": "@clocks.example"}
    plain_customers = plain_models().Customer.objects.using("cluster")

    def write(answer):
        start = perf_counter()
        try:
            key = new_customer(name, name="Ada Mudge", email="ada@written.example")
        except errors as error:
            key = type(error)
        answer.append((perf_counter() - start, key))
        sleep(0.002)

    def count(answer):
        start = perf_counter()
        if name == OURS:
            found = gather.count(Customer.objects.filter(**old))
        else:
            found = plain_customers.filter(**old).count()
        answer.append((start, perf_counter(), found))

    with context(name), in_thread(write) as written, in_thread(count) as counted:
        sleep(1)
        start = perf_counter()
        change()
        seconds = perf_counter() - start
        sleep(1)
    keys = {key for _, key in written if isinstance(key, int)}
    refused = len(written) - len(keys)
    with context(name):
        if name == OURS:
            there = gather.in_bulk(Customer.objects.all(), keys)
            total = gather.count(Customer.objects.all())
        else:
            there = {row.pk for key in keys for row in plain_customers.filter(pk=key)}
            total = plain_customers.count()
    assert (len(there), total) == (len(keys), CUSTOMERS + len(keys)), (name, len(there), total)
    wrong = [(start, end) for start, end, found in counted if found != CUSTOMERS]
    return {
        "move": seconds,
        "write": max(wait for wait, _ in written),
        "count": max(end - start for start, end, _ in counted),
        "wrong": wrong[-1][1] - wrong[0][0] if wrong else 0.0,
        "writes": len(keys),
        "refused": refused,
    }


def add_shard():
    """Move a half of the buckets of the first shard to a new shard. Return the number of rows."""

    from sharding import buckets
    from sharding.reshard import reshard

    numbers = buckets.read_map().buckets(SHARDS[0])
    _, rows = reshard(numbers[len(numbers) // 2 :], "shard3")
    return rows


def add_partition():
    """Split the hash partition of the first node, and move the half to a new node."""
    from django.db import transaction

    moved = {}
    for table, column in TABLES.items():
        # postgres_fdw sends this condition to the node. So the table's OID has to be the node's.
        ((oid,),) = execute("node0", f"SELECT '{table}_hash'::regclass::oid")
        moved[table] = f"satisfies_hash_partition({oid}::oid, 6, 3, {column})"
    with transaction.atomic(using="cluster"):
        # Writers wait from here on. Readers wait from the first DETACH on.
        execute("cluster", f"LOCK TABLE {', '.join(TABLES)} IN EXCLUSIVE MODE")
        for table in TABLES:
            execute(
                "cluster",
                f"INSERT INTO {table}_node3 SELECT * FROM {table}_node0 WHERE {moved[table]}",
            )
        for table in reversed(TABLES):
            execute("cluster", f"DELETE FROM {table}_node0 WHERE {moved[table]}")
        for table in TABLES:
            execute("cluster", f"ALTER TABLE {table} DETACH PARTITION {table}_node0")
            for part, remainder in [("0", 0), ("3", 3)]:
                execute(
                    "cluster",
                    f"ALTER TABLE {table} ATTACH PARTITION {table}_node{part} "
                    f"FOR VALUES WITH (MODULUS 6, REMAINDER {remainder})",
                )


def add_range(middle):
    """Move the keys of the first node from ``middle`` on to a new node."""
    from django.db import connections

    holder, renamer = (connections["cluster"].copy() for _ in range(2))
    swaps = ", ".join(f"{table} TO {table}_old, {table}_new TO {table}" for table in TABLES)
    with holder.cursor() as held, renamer.cursor() as renaming, ThreadPoolExecutor(1) as thread:
        # Writers wait from here on, also those that write to a node directly.
        held.execute(f"LOCK TABLES {', '.join(f'{table} READ' for table in TABLES)}")
        for table, column in TABLES.items():
            execute(
                "cluster",
                f"INSERT INTO {table}_new SELECT * FROM {table} PARTITION (node0) "
                f"WHERE {column} >= {middle}",
            )
        swapping = thread.submit(renaming.execute, f"RENAME TABLE {swaps}")
        while not execute(
            "cluster",
            "SELECT 1 FROM information_schema.processlist WHERE state LIKE 'Waiting for table%' "
            "AND info LIKE 'RENAME%'",
        ):
            sleep(0.001)
        # The RENAME waits, and comes before the writers that wait.
        held.execute("UNLOCK TABLES")
        swapping.result()
    # Until these rows are deleted, a query over all rows finds them twice.
    execute("node0", f"DELETE FROM customers_order WHERE customer_id >= {middle}")
    execute("node0", f"DELETE FROM customers_customer WHERE id >= {middle}")
    for connection in (holder, renamer):
        connection.close()


def prepare_node(engine):
    """Make the tables of a new node, and make them known to the coordinator, without rows.

    Returns the function that moves the rows.
    """
    from django.conf import settings
    from django.db import connections

    from distributed.engines import ENGINES as SQL
    from sharding.keys import BUCKETS, keys_of

    manage("migrate", "customers", "--database=node3", "--settings=on_cluster")
    coordinator = connections["cluster"]
    sql = SQL[coordinator.vendor]
    with patch.object(settings, "NODES", ["node3"]):
        for statement in sql.prepare(coordinator):
            execute("cluster", statement)
    if engine == "postgresql":
        for table, column in TABLES.items():
            types = f"{table}_hash"
            execute("node3", f"CREATE TABLE {types} (value bigint) PARTITION BY HASH (value)")
            check = f"satisfies_hash_partition('{types}'::regclass, 6, 3, {column})"
            execute("node3", f"ALTER TABLE {table} ADD CHECK ({check})")
            execute(
                "cluster",
                f"CREATE FOREIGN TABLE {table}_node3 (LIKE {table} INCLUDING CONSTRAINTS) "
                f"SERVER node3 OPTIONS (table_name '{table}')",
            )
        return add_partition
    middle = keys_of(BUCKETS // 6)[0]
    for table, column in TABLES.items():
        execute("node3", f"ALTER TABLE {table} ADD CHECK ({column} >= {middle})")
        execute("cluster", f"CREATE TABLE {table}_new LIKE {table}")
        (row,) = execute("cluster", f"SHOW CREATE TABLE {table}")
        (last,) = re.findall(r"PARTITION `node0` VALUES LESS THAN \((\d+)\)", row[1])
        # This changes the definition only. Spider moves no rows, and deletes none.
        execute(
            "cluster",
            f"ALTER TABLE {table}_new REORGANIZE PARTITION node0 INTO ("
            f"PARTITION node0 VALUES LESS THAN ({middle}) COMMENT = 'srv \"cluster_node0\"', "
            f"PARTITION node3 VALUES LESS THAN ({last}) COMMENT = 'srv \"cluster_node3\"')",
        )
        execute(
            "cluster",
            f"CREATE TRIGGER {table}_new_stays BEFORE UPDATE ON {table}_new FOR EACH ROW "
            f"IF NEW.{column} <> OLD.{column} THEN SIGNAL SQLSTATE '45000'; END IF",
        )
        execute(
            "cluster",
            f"CREATE TRIGGER {table}_new_counted BEFORE DELETE ON {table}_new "
            "FOR EACH ROW BEGIN END",
        )
    return partial(add_range, middle)


def measure_added_server(engine):
    """Time moving a half of the rows of a server to a new server, while rows are written."""
    from django.conf import settings
    from django.core.management import call_command
    from django.db import DatabaseError

    settings.SHARDS.append("shard3")
    call_command("migrate_shards", stdout=io.StringIO())
    move = prepare_node(engine)
    found = {}
    for name, change in [(OURS, add_shard), (ENGINES[engine], move)]:
        found[name] = watched(name, change, DatabaseError)
        prefix = "shard" if name == OURS else "node"
        found[name]["rows"] = sum(
            execute(f"{prefix}3", f"SELECT count(*) FROM {table}")[0][0] for table in TABLES
        )
    print("\nA server is added, which takes a half of the rows of another server")
    for name, figures in found.items():
        print(f"  {name}: {figures}", flush=True)
    analyze(engine)
    times = {
        f"added_server_{line}": {
            "unit": "s",
            "runs": 1,
            "figures": {name: summary([figures[line]]) for name, figures in found.items()},
        }
        for line in ["move", "write", "count", "wrong"]
    }
    facts = {
        name: {fact: figures[fact] for fact in ["rows", "writes", "refused"]}
        for name, figures in found.items()
    }
    return times | {"added_server": facts}


def dump(servers, alias, file):
    """Write a logical backup of a database to a file."""
    part = alias[-1] if alias[-1].isdigit() else "coordinator"
    kind = servers[part].kind
    if kind.name == "PostgreSQL":
        command = [kind.bin / "pg_dump", "-h", kind.folder, "-U", "postgres", "-f", file, alias]
        command += ["--include-foreign-data=node*"] * (alias == "cluster")
    else:
        command = ["mariadb-dump", "--no-defaults", f"--socket={socket_of(servers[part])}"]
        command += ["-u", "root", "--single-transaction", f"--result-file={file}", alias]
        # Otherwise the backup has no rows of Spider's tables.
        command += ["--skip-no-data-med"] * (alias == "cluster")
    subprocess.run(command, check=True, env=environment(), stdout=subprocess.DEVNULL)


def measure_backup(engine, servers, runs=3):
    """Time logical backups. Say whether each has the rows of one moment, while rows are written."""
    parts = [*PARTS, "3"]
    own = f"{ENGINES[engine]}, each node"
    databases = {
        OURS: ["default", *(f"shard{part}" for part in parts)],
        ENGINES[engine]: ["cluster"],
        own: [f"node{part}" for part in parts],
        ONE: ["one"],
    }

    def backup(name):
        files = {alias: Path(f"{alias}.dump") for alias in databases[name]}
        with ThreadPoolExecutor() as threads:
            list(threads.map(partial(dump, servers), files, files.values()))
        return "".join(file.read_text(encoding="utf-8") for file in files.values())

    def once(name):
        backup(name)
        return 1

    result = compare("A backup", "ms", {name: partial(once, name) for name in databases}, runs)
    moments = {}
    for name in databases:
        writer = ENGINES[engine] if name == own else name

        def write(answer, writer=writer):
            new_customer(writer, name="Ada", email=f"moment{len(answer)}@written.example")
            answer.append(None)

        moments[name] = True
        for _ in range(10):
            with context(name), in_thread(write):
                sleep(0.2)
                text = backup(name)
            numbers = {int(number) for number in re.findall(r"moment(\d+)@", text)}
            # Each row was written after the one before. So at any moment, the first rows are there.
            assert numbers, name
            moments[name] &= len(numbers) == max(numbers) + 1
            for alias in [
                "one",
                *(f"{kind}{part}" for kind in ["shard", "node"] for part in parts),
            ]:
                execute(alias, "DELETE FROM customers_customer WHERE email LIKE 'moment%'")
    print("  has the rows of one moment:", moments, flush=True)
    return {"backup": result | {"one_moment": moments}}


def pid_of(server):
    kind = server.kind
    file = kind.data / "postmaster.pid" if kind.name == "PostgreSQL" else kind.folder / "pid"
    return int(file.read_text().split()[0])


def measure_lost_server(engine, servers):
    """Kill a server. Record which questions are answered without it, and after how many seconds."""
    from django.db import DatabaseError, InterfaceError, close_old_connections

    from customers.models import Order
    from sharding import gather
    from sharding.scatter import ShardDown

    found = {}
    for name, prefix, of in [(OURS, "shard", ours()), (ENGINES[engine], "node", plain("cluster"))]:
        (there,), (lost,) = (
            execute(f"{prefix}{part}", "SELECT customer_id, id FROM customers_order LIMIT 1")
            for part in ["2", "1"]
        )
        found[name] = {
            "get on another server": partial(of["get"], *there),
            "get on the lost server": partial(of["get"], *lost),
            "create on another server": partial(of["create"], *there),
            "create on the lost server": partial(of["create"], *lost),
            "an order of another server, by its key alone": partial(of["get_order"], *there),
            "count": partial(of["count"], *there),
            f"the {TOP} newest": partial(of["top"], *there),
            "join with products": partial(of["products"], *there),
        }
    found[OURS] |= {
        "count, partial=True": lambda: gather.count(Order.objects.all(), partial=True),
    }

    def ask(question):
        close_old_connections()  # as at the start of a request
        start = perf_counter()
        try:
            value = question()
        except (DatabaseError, InterfaceError, ShardDown) as error:
            message = str(error).strip().splitlines()[0]
            said = f"{type(error).__name__}: {re.sub(r'/[^ ]*/', '…/', message)}"
        else:
            said = "answers"
            if isinstance(value, gather.Partial) and value.missing:
                said = f"answers, without {', '.join(value.missing)}"
        return {"says": said, "seconds": float(f"{perf_counter() - start:.3g}")}

    def ask_all():
        answers = {}
        for name, questions in found.items():
            with context(name):
                answers[name] = {what: ask(question) for what, question in questions.items()}
        return answers

    for name, answers in ask_all().items():
        assert {answer["says"] for answer in answers.values()} == {"answers"} or name == OURS, (
            answers
        )
    kind = servers["1"].kind
    os.kill(pid_of(servers["1"]), signal.SIGKILL)
    sleep(1)
    results = {"killed": ask_all()}
    user = {}
    if os.geteuid() == 0:
        status = os.stat(kind.folder)
        user = {"user": status.st_uid, "group": status.st_gid, "extra_groups": []}
    with (Path.cwd() / "restarted.log").open("w") as log:
        again = subprocess.Popen(
            kind.run,
            cwd=kind.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            **user,
        )
        ask_server = {"input": "SELECT 1", "text": True, "capture_output": True}
        while subprocess.run(kind.client, env=environment(), **ask_server).returncode:
            sleep(0.1)
        results["started again"] = ask_all()
        again.kill()
        again.wait()
    print("\nA server is lost")
    for when, by_name in results.items():
        for name, answers in by_name.items():
            for what, answer in answers.items():
                print(f"  {when}; {name}; {what}: {answer['says']} ({answer['seconds']} s)")
    return {"lost_server": results}


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
        results |= measure_fetching(engine)
        with moved_away(hosts):
            results |= measure_questions(engine, rows, latency=True)
        results |= measure_added_server(engine)
        results |= measure_backup(engine, servers)
        results |= measure_lost_server(engine, servers)
        save("distributed", packages, results, engine)


if __name__ == "__main__":
    main()
