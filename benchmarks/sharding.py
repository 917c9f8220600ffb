"""The cost of sharding: the keys, the routing, queries to all shards, filling and moving shards.

Run by ``make bench``, from the root of the project: ``python -m benchmarks.sharding``. With an
engine, as in ``python -m benchmarks.sharding postgresql``, it runs on the server whose address is
in the variables of the engine's clients.
"""

import io
import random
import secrets
import time
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stderr
from datetime import datetime, timedelta
from functools import cache, partial
from itertools import repeat
from pathlib import Path
from sqlite3 import connect
from time import perf_counter, sleep
from types import SimpleNamespace
from unittest.mock import patch
from uuid import UUID, uuid4

from benchmarks import (
    SERVERS,
    compare,
    copy_of,
    create_databases,
    engine_named,
    manage,
    save,
    start_django,
    summary,
    versions_of,
)

PACKAGES = ["Django"]
CUSTOMERS = 60_000  # each with 1.5 orders; on servers, a quarter of the customers
NUMBERS = [1, 2, 4, 8, 16]  # numbers of shards
LATENCY = 0.005  # seconds, for each query
TOP = 20
KEYS = 40_000
ONE = 1_000_000  # orders in one database
OURS = "examples/sharding"


def shards(number):
    """Return the aliases of this many shards, over which the same rows are distributed."""
    return [f"{shard}_of_{number}" for shard in range(number)]


def set_up(engine, numbers=NUMBERS):
    """Fill the shop's four shards. Write the same rows to one database, and to 2, 4, … shards."""
    customers = CUSTOMERS if engine == "sqlite" else CUSTOMERS // 4
    print(f"{customers:,} customers with their orders, on {engine}…", flush=True)
    start_django(engine)
    manage("migrate")
    manage("migrate_shards")
    manage("populate", f"--customers={customers}")

    from django.conf import settings
    from django.db import connections

    from customers.models import Customer, Order
    from sharding.keys import BUCKETS, bucket_of

    for number in numbers:
        for alias in shards(number):
            name = Path(f"{alias}.sqlite3").resolve() if engine == "sqlite" else alias
            settings.DATABASES[alias] = settings.DATABASES["default"] | {"NAME": name}
            if engine != "sqlite":
                create_databases([alias])
    models = [Customer, Order]
    rows = {}
    for model in models:  # each shard has a range of keys, and the rows are in order
        table = model._meta.db_table
        columns = ", ".join(field.column for field in model._meta.concrete_fields)
        rows[table, f"({columns})"] = [
            row
            for alias in settings.SHARDS
            for row in execute(alias, f"SELECT {columns} FROM {table} ORDER BY id")
        ]
    for aliases in [["default"], *map(shards, numbers)]:
        for alias in aliases:
            with connections[alias].schema_editor() as editor:
                for model in models:
                    editor.create_model(model)
        for (table, columns), its_rows in rows.items():
            groups = {alias: [] for alias in aliases}
            for row in its_rows:
                groups[aliases[bucket_of(row[0]) * len(aliases) // BUCKETS]].append(row)
            for alias, group in groups.items():
                insert(alias, table, group, columns)
        if engine == "postgresql":
            for alias in aliases:
                execute(alias, "ANALYZE")


def driver(alias):
    """Return the connection of the driver (sqlite3, say) that Django uses for a database."""
    from django.db import connections

    connections[alias].ensure_connection()
    return connections[alias].connection


def execute(alias, sql):
    """Execute a statement on a database; return its rows."""
    from django.db import connections

    with connections[alias].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def insert(alias, table, rows, columns=""):
    """Insert rows (tuples) in one transaction, in the fastest way of the driver."""
    from django.db import connections, transaction

    if not rows:
        return
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        if connections[alias].vendor == "postgresql":
            with cursor.copy(f"COPY {table} {columns} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            marks = ", ".join(["%s"] * len(rows[0]))
            cursor.executemany(f"INSERT INTO {table} {columns} VALUES ({marks})", rows)


def empty(alias, tables):
    """Delete all rows of these tables of a database, and on SQLite, empty the write-ahead log."""
    from django.core.management.color import no_style
    from django.db import connections

    operations = connections[alias].ops
    operations.execute_sql_flush(operations.sql_flush(no_style(), tables))
    if connections[alias].vendor == "sqlite":
        execute(alias, "PRAGMA wal_checkpoint(TRUNCATE)")


@cache
def plain_models():
    """Return models of the same tables, without sharding."""
    from django.db import models

    class Customer(models.Model):  # noqa: DJ008
        id = models.BigIntegerField(primary_key=True)
        name = models.CharField(max_length=100)
        email = models.EmailField()
        joined = models.DateTimeField()

        class Meta:
            app_label = "plain"
            managed = False
            db_table = "customers_customer"

    class Order(models.Model):  # noqa: DJ008
        id = models.BigIntegerField(primary_key=True)
        customer = models.ForeignKey(Customer, models.CASCADE, related_name="orders")
        product_id = models.BigIntegerField()
        quantity = models.PositiveSmallIntegerField(default=1)
        price = models.DecimalField(max_digits=8, decimal_places=2)
        created = models.DateTimeField()

        class Meta:
            app_label = "plain"
            managed = False
            db_table = "customers_order"

    return SimpleNamespace(Customer=Customer, Order=Order)


@contextmanager
def unrouted():
    """Use no router: all models are in default."""
    from django.db import router

    with patch.object(router, "routers", []):
        yield


@contextmanager
def asking(aliases, threads=None, latency=0.0):
    """Make gather query these shards. Each query is delayed by ``latency``, also on default.

    ``threads`` says whether the queries run in threads. With None, gather decides.
    """
    from django.conf import settings
    from django.db import connections

    from sharding import scatter

    def slow(execute, *arguments):
        sleep(latency)
        return execute(*arguments)

    with ExitStack() as stack:
        stack.enter_context(patch.object(settings, "SHARDS", aliases))
        if threads is not None:
            stack.enter_context(patch.object(scatter, "_sequential", lambda aliases: not threads))
        if latency:
            for alias in {"default", *aliases}:
                stack.enter_context(connections[alias].execute_wrapper(slow))
        yield


def measure_keys(engine, runs=4):
    """Insert rows with keys of each kind, and measure the size of the table and its indexes.

    A row is an order: its key, its customer's key with an index, and a few bytes of text.
    """
    from sharding.keys import new_key

    shard, of_shard = 2, range(512, 768)  # one of four shards, and its buckets
    tickets = driver("default")
    tickets.execute("CREATE TABLE ticket (id integer PRIMARY KEY AUTOINCREMENT, stub text UNIQUE)")

    def uuid7():
        # The first random bits have a more exact time, so that the keys of a process are in order
        # (RFC 9562, 6.2, method 3). Python 3.14 has uuid.uuid7().
        milliseconds, rest = divmod(time.time_ns(), 1_000_000)
        number = milliseconds << 80 | 7 << 76 | (rest << 12) // 1_000_000 << 64
        return UUID(int=number | 2 << 62 | secrets.randbits(62)).hex

    def ticket():
        # As at Flickr: one row that is replaced, and its new number is the key.
        sql = "INSERT OR REPLACE INTO ticket (stub) VALUES ('a')"
        return tickets.execute(sql).lastrowid

    def no_key():
        return None  # the database makes the key

    def ours():
        return new_key(random.choice(of_shard))

    bigint = "bigint NOT NULL PRIMARY KEY"
    text = "char(32) NOT NULL PRIMARY KEY"
    kinds = {
        "range-seeded autoincrement": ("integer PRIMARY KEY AUTOINCREMENT", no_key),
        OURS: (bigint, ours),
        "uuid7": (text, uuid7),
        "uuid4": (text, lambda: uuid4().hex),
        "ticket server": (bigint, ticket),
    }

    def make(new, number=5_000):
        for _ in repeat(None, number):
            new()
        return number

    makers = {name: partial(make, new) for name, (_, new) in kinds.items() if new is not no_key}
    making = compare("A key is made", "ns", makers, 5)
    sizes = {name: [] for name in kinds}
    opened = {}

    def prepare(name):
        path = Path("keys.sqlite3")
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        connection = opened[name] = connect(path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        column = kinds[name][0]
        owner = column.split()[0]
        connection.execute(
            f"CREATE TABLE line (id {column}, owner {owner} NOT NULL, note text NOT NULL)"
        )
        connection.execute("CREATE INDEX line_owner ON line (owner)")
        if "AUTOINCREMENT" in column:
            connection.execute("INSERT INTO sqlite_sequence VALUES ('line', ?)", [shard << 40])

    def fill(name, batch=100):
        connection, new = opened.pop(name), kinds[name][1]
        # Owners' keys are of the same kind. Those of a sequence are counted here.
        first = 1 + (shard << 40) if name == "range-seeded autoincrement" else None
        owner = first or new()
        for start in range(0, KEYS, batch):
            connection.execute("BEGIN IMMEDIATE")
            for number in range(start, start + batch):
                key = new()
                if number % 2 == 0:
                    owner = first + number if first else key
                connection.execute("INSERT INTO line VALUES (?, ?, 'Wound daily.')", (key, owner))
            connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        sizes[name].append(pages * connection.execute("PRAGMA page_size").fetchone()[0] / KEYS)
        connection.close()
        return KEYS

    functions = {name: partial(fill, name) for name in kinds}
    rates = compare("Rows with each kind of key, inserted", "rows/s", functions, runs, prepare)
    tickets.execute("DROP TABLE ticket")
    figures = {name: summary(values[1:]) for name, values in sizes.items()}
    print("\nThe table with its indexes, bytes a row")
    for name, figure in figures.items():
        print(f"  {name:<36}{figure['median']:>8.1f}", flush=True)
    return {
        "keys_made": making,
        "keys": rates,
        "key_sizes": {"unit": "bytes a row", "runs": runs, "figures": figures},
    }


def measure_routing(engine):
    """Time queries to one shard, compared with one database."""
    from django.conf import settings
    from django.utils import timezone

    from customers.models import Customer
    from sharding.keys import new_key

    plain = plain_models()
    keys = [key for (key,) in execute("default", "SELECT id FROM customers_customer")]

    def get(model, number=20):
        for pk in random.sample(keys, number):
            model.objects.get(pk=pk)
        return number

    def create(model, number=5):
        for _ in range(number):
            model.objects.create(name="Ada Mudge", email="ada@clocks.example")
        return number

    def plain_get():
        with unrouted():
            return get(plain.Customer)

    def plain_create(number=5):
        # With keys that are as random, and take as long to make.
        with unrouted():
            for _ in range(number):
                plain.Customer.objects.create(
                    pk=new_key(),
                    name="Ada Mudge",
                    email="ada@clocks.example",
                    joined=timezone.now(),
                )
        return number

    def clear(name):
        for alias in ["default", *settings.SHARDS]:
            execute(alias, "DELETE FROM customers_customer WHERE email = 'ada@clocks.example'")

    assert Customer.objects.get(pk=keys[0])._state.db == "shard0"
    with unrouted():
        assert plain.Customer.objects.get(pk=keys[0])._state.db == "default"
    gets = {"one database": plain_get, OURS: partial(get, Customer)}
    creates = {"one database": plain_create, OURS: partial(create, Customer)}
    results = {
        "get": compare("Customer.objects.get(pk=…)", "µs", gets, 401),
        "create": compare("Customer.objects.create(…)", "µs", creates, 201),
    }
    clear("")
    return results


class HorizontalShard:
    """SQLAlchemy's horizontal_shard on the files of these shards, used as in its own example."""

    def __init__(self, aliases):
        from sqlalchemy import create_engine, event
        from sqlalchemy.ext.horizontal_shard import ShardedSession
        from sqlalchemy.orm import sessionmaker

        self.latency = 0
        engines = {alias: create_engine(f"sqlite:///{alias}.sqlite3") for alias in aliases}
        for engine in engines.values():
            event.listen(engine, "before_cursor_execute", self.slow)
        self.session = sessionmaker(
            class_=ShardedSession,
            shards=engines,
            shard_chooser=lambda *arguments, **kwargs: aliases[0],  # only for writes
            identity_chooser=lambda *arguments, **kwargs: aliases,
            execute_chooser=lambda context: aliases,
        )
        self.Order = self.mapped()

    def slow(self, *arguments):
        if self.latency:
            sleep(self.latency)

    def mapped(self):
        from sqlalchemy import BigInteger, DateTime, Numeric, SmallInteger
        from sqlalchemy.orm import DeclarativeBase, mapped_column

        class Base(DeclarativeBase):
            pass

        class Order(Base):
            __tablename__ = "customers_order"
            id = mapped_column(BigInteger, primary_key=True)
            customer_id = mapped_column(BigInteger)
            product_id = mapped_column(BigInteger)
            quantity = mapped_column(SmallInteger)
            price = mapped_column(Numeric(8, 2))
            created = mapped_column(DateTime)

        return Order

    def count(self):
        from sqlalchemy import func, select

        with self.session() as session:  # one result for each shard, which the caller combines
            return sum(session.execute(select(func.count()).select_from(self.Order)).scalars())

    def top(self):
        from sqlalchemy import select

        order = self.Order.created.desc(), self.Order.id.desc()
        with self.session() as session:
            rows = session.execute(select(self.Order).order_by(*order).limit(TOP)).scalars().all()
        # The first rows of each shard, one shard after another.
        return sorted(rows, key=lambda row: (row.created, row.id), reverse=True)[:TOP]


def measure_gather(engine):
    """Time count and top-20 over 8 shards, and over more shards, compared with one database.

    On SQLite, also compared with SQLAlchemy.
    """
    from customers.models import Order
    from sharding import gather

    plain = plain_models()
    newest = "-created", "-pk"
    peer = HorizontalShard(shards(8)) if engine == "sqlite" else None

    def ours_count():
        return gather.count(Order.objects.all())

    def ours_top():
        return gather.top(Order.objects.order_by(*newest), TOP)

    def plain_count():
        return plain.Order.objects.count()

    def plain_top():
        return list(plain.Order.objects.order_by(*newest)[:TOP])

    @contextmanager
    def one_database(latency=0.0):
        with unrouted(), asking(["default"], latency=latency):
            yield

    def compared(title, questions, runs):
        """Compare ``{name: (question, context manager)}``. Entering the context is not timed."""
        with ExitStack() as stack:

            def prepare(name):
                stack.close()
                stack.enter_context(questions[name][1]())

            def once(question):
                question()
                return 1

            functions = {name: partial(once, question) for name, (question, _) in questions.items()}
            return compare(title, "ms", functions, runs, prepare)

    def of_peer(name, latency=0.0):
        def question():
            peer.latency = latency
            getattr(peer, name)()

        return {"SQLAlchemy's horizontal_shard": (question, nullcontext)} if peer else {}

    def pks(rows):
        return [row.id for row in rows]

    def in_one(question):
        with one_database():
            return question()

    with asking(shards(8), threads=True, latency=LATENCY):
        assert ours_count() == in_one(plain_count)
        assert pks(ours_top()) == pks(in_one(plain_top))
    if peer:
        assert peer.count() == in_one(plain_count)
        assert pks(peer.top()) == pks(in_one(plain_top))

    questions = {"count": (plain_count, ours_count), "top": (plain_top, ours_top)}
    titles = {"count": "Count", "top": f"Top {TOP}"}
    in_turn = f"{OURS}, one after the other"
    other = (f"{OURS}, in threads", True) if engine == "sqlite" else (in_turn, False)
    results = {}
    for name, (plain_ask, ask) in questions.items():
        results[f"{name}_with_latency"] = compared(
            f"{titles[name]}, each database {LATENCY * 1e3:g} ms away, 8 shards",
            {
                "one database": (plain_ask, partial(one_database, LATENCY)),
                OURS: (ask, partial(asking, shards(8), True, LATENCY)),
                in_turn: (ask, partial(asking, shards(8), False, LATENCY)),
                **of_peer(name, LATENCY),
            },
            runs=61,
        )
        results[name] = compared(
            f"{titles[name]}, no delay, 8 shards",
            {
                "one database": (plain_ask, one_database),
                OURS: (ask, partial(asking, shards(8))),
                other[0]: (ask, partial(asking, shards(8), other[1])),
                **of_peer(name),
            },
            runs=101,
        )
    for name, (_, ask) in questions.items():
        for where, threads, latency in [("with_latency", True, LATENCY), ("at_hand", None, 0.0)]:
            results[f"{name}_growth_{where}"] = compared(
                f"{titles[name]} over more and more shards, {where.replace('_', ' ')}",
                {
                    f"{number} shard{'s' * (number > 1)}": (
                        ask,
                        partial(asking, shards(number), threads, latency),
                    )
                    for number in NUMBERS
                },
                runs=31,
            )
    return results


def measure_populate(engine, customers=30_000, runs=5):
    """Time populate, compared with the driver's fastest way for the same rows, made beforehand."""
    from django.conf import settings
    from django.core.management import call_command

    tables = {
        "default": ["directory_emailaddress"],
        **{alias: ["customers_customer", "customers_order"] for alias in settings.SHARDS},
    }

    def clear(name):
        for alias, its_tables in tables.items():
            empty(alias, its_tables[::-1])

    def populate():
        with redirect_stderr(io.StringIO()):  # no progress bar without a terminal
            call_command("populate", customers=customers, stdout=io.StringIO())
        return number

    def raw():
        for (alias, table), its_rows in rows.items():
            insert(alias, table, its_rows)
        return number

    clear("")
    number = 1
    populate()
    rows = {
        (alias, table): execute(alias, f"SELECT * FROM {table} ORDER BY 1")
        for alias, its_tables in tables.items()
        for table in its_tables
    }
    number = sum(map(len, rows.values()))
    functions = {"COPY" if engine == "postgresql" else "executemany": raw, OURS: populate}
    title = f"populate, {customers:,} customers: {number:,} rows with orders and addresses"
    return {"populate": compare(title, "rows/s", functions, runs, clear)}


def measure_reshard(engine, runs=2):
    """Time moving a shard's buckets to another shard, and back."""
    from sharding import buckets
    from sharding.reshard import reshard

    numbers = buckets.read_map().buckets("shard0")
    whole, at_work = [], []
    for run in range(1 + runs):
        target = ["shard1", "shard0"][run % 2]
        start = perf_counter()
        moved, rows = reshard(numbers, target)
        seconds = perf_counter() - start
        assert moved == len(numbers)
        whole.append(rows / seconds)
        # Without the three leases (for any number of rows) in which all processes read the new map.
        at_work.append(rows / (seconds - 3 * buckets.LEASE))
    figures = {"with its waits": summary(whole[1:]), "without them": summary(at_work[1:])}
    print(f"\nreshard: {len(numbers)} buckets with {rows:,} rows, rows/s")
    for name, figure in figures.items():
        print("  {}: {median:,.0f} ({min:,.0f}–{max:,.0f})".format(name, **figure), flush=True)
    return {
        "reshard": {
            "unit": "rows/s",
            "runs": runs,
            "rows": rows,
            "buckets": len(numbers),
            "figures": figures,
        }
    }


def measure_one_database(engine):
    """Fill one database without sharding, and time its queries."""
    from django.conf import settings

    plain = plain_models()
    connection = driver("default")
    start, customers = datetime(2025, 1, 1), ONE // 2
    connection.execute("DELETE FROM customers_order")
    connection.execute("DELETE FROM customers_customer")

    def at(minutes):
        return str(start + timedelta(minutes=minutes))

    insert(
        "default",
        "customers_customer",
        [(n, f"Customer {n}", f"c{n}@clocks.example", at(n)) for n in range(customers)],
    )
    columns = "id, customer_id, product_id, quantity, price, created"
    orders = [(n, n // 2, 1 + n % 100, 1, "19.99", at(n // 2)) for n in range(ONE)]
    began = perf_counter()
    insert("default", "customers_order", orders, f"({columns})")
    rate = ONE / (perf_counter() - began)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.execute("ANALYZE")
    size = Path(settings.DATABASES["default"]["NAME"]).stat().st_size
    objects = plain.Order.objects
    keys = iter(range(ONE, 2 * ONE))

    def get(number=200):
        for pk in random.sample(range(ONE), number):
            objects.get(pk=pk)
        return number

    def page(number=100):
        for pk in random.sample(range(customers), number):
            customer = plain.Customer.objects.get(pk=pk)
            list(customer.orders.order_by("-created"))
        return number

    def top(number=50):
        for _ in range(number):
            list(objects.order_by("-created", "-pk")[:TOP])
        return number

    def count(number=3):
        for _ in range(number):
            objects.count()
        return number

    def create(number=200):
        for _ in range(number):
            key = next(keys)
            objects.create(
                pk=key, customer_id=key % customers, product_id=1, price="19.99", created=now
            )
        return number

    now = datetime(2026, 1, 1, tzinfo=objects.first().created.tzinfo)
    answers = {"get": get, "a customer with orders": page, f"top {TOP}": top, "count": count}
    with unrouted():
        asked = compare(f"One database with {ONE:,} orders", "ms", answers, 11)
        created = compare("One database: Order.objects.create(…)", "rows/s", {"create": create}, 11)
    megabytes = summary([size / 1e6])
    loaded = summary([rate])
    print(f"  {size / 1e6:,.0f} MB; executemany: {rate:,.0f} orders a second")
    return {
        "one_database": asked | {"orders": ONE, "customers": customers},
        "one_database_create": created,
        "one_database_load": {"unit": "rows/s", "runs": 1, "figures": {"executemany": loaded}},
        "one_database_size": {"unit": "MB", "runs": 1, "figures": {"size": megabytes}},
    }


def main():
    random.seed(0)
    engine = engine_named()
    if engine == "sqlite":
        packages = versions_of([*PACKAGES, "SQLAlchemy"])
        alone = [
            measure_keys,
            measure_one_database,
        ]  # a server would show the same
    else:
        packages, alone = versions_of([*PACKAGES, SERVERS[engine][1]]), []
    with copy_of("sharding"):
        set_up(engine)
        results = {}
        for measure in (
            measure_routing,
            measure_gather,
            measure_reshard,
            measure_populate,
            *alone,
        ):
            results |= measure(engine)
        save("sharding", packages, results, engine)


if __name__ == "__main__":
    main()
