"""The cost of replication: the router (compared with others), the log, the lag, and an index.

Run by ``make bench``, from the root of the project: ``python -m benchmarks.replication``. With the
name of an engine, as in ``python -m benchmarks.replication postgresql``, it starts servers in the
same way as the example's tests: a primary, and two servers that replicate it.
"""

import random
import subprocess
import sys
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from itertools import repeat
from math import inf
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, sleep

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

PACKAGES = ["Django", "django-multidb-router", "django_replicated"]
PRODUCTS = 1_000
REVIEWS = 100_000
OURS = "examples/replication"


class BareRouter:
    """The smallest possible router for replicas."""

    def db_for_read(self, model, **hints):
        return "replica1"

    def db_for_write(self, model, **hints):
        return "default"


@contextmanager
def servers_of(engine):
    """Start a primary and two replicas, unless the engine is SQLite; yield their settings."""
    if engine == "sqlite":
        yield {}
        return
    from shop.settings import INSTALLED_APPS
    from tests.servers import MariaDB, PostgreSQL, Unavailable

    positions = {"postgresql": "PostgresPosition", "mariadb": "MariaDBPosition"}
    try:
        servers = PostgreSQL() if engine == "postgresql" else MariaDB(replicas=2)
    except Unavailable as error:
        sys.exit(f"Nothing is measured: {error}")
    with servers:
        yield {
            "databases": {
                alias: {"NAME": "shop"} | servers.entry(name)
                for alias, name in zip(
                    ["default", "replica1", "replica2"], servers.names, strict=True
                )
            },
            "INSTALLED_APPS": [app for app in INSTALLED_APPS if app != "replication"],
            "REPLICA_POSITION": f"replicas.positions.{positions[engine]}",
        }


def set_up(engine, **settings_of_servers):
    """Fill the shop, and configure Django for it and for the other two routers."""
    print(f"{PRODUCTS:,} products, {REVIEWS:,} reviews, two replicas, {engine}…", flush=True)
    start_django(engine, **settings_of_servers)
    manage("migrate")
    manage("populate", f"--products={PRODUCTS}", f"--reviews={REVIEWS}")
    if engine == "sqlite":
        manage("replicate", "--snapshot")

    from django.conf import settings
    from django.db import connections
    from django_replicated import settings as defaults

    from replicas import health

    for connection in connections.all():
        connection.ensure_connection()
    position = health.position().written(connections["default"])
    while not all(health.reached(alias, position) for alias in settings.REPLICAS["default"]):
        sleep(0.1)
    settings.CACHES["default"]["OPTIONS"] = {"MAX_ENTRIES": PRODUCTS}
    settings.REPLICA_MAX_LAG = inf  # no process replicates while the routers are compared
    settings.REPLICA_DATABASES = settings.REPLICAS["default"]
    for name in filter(str.isupper, dir(defaults)):
        setattr(settings, name, getattr(defaults, name))
    settings.REPLICATED_DATABASE_SLAVES = settings.REPLICAS["default"]


def candidates():
    """Return a dict of what to compare: ``{name: (routers, request)}``.

    ``routers`` are for `routed_by`. ``request()`` is a context manager that calls the router as its
    middleware does for a GET from a user who has not written.
    """
    from django_replicated.router import ReplicationRouter
    from multidb import PinningReplicaRouter
    from multidb.pinning import unpin_this_thread

    from replicas import reading

    @contextmanager
    def unpinned():
        unpin_this_thread()
        yield

    replicated = ReplicationRouter()

    @contextmanager
    def slave_state():
        replicated.init("slave")
        yield
        replicated.reset()

    return {
        "a bare router": ([BareRouter()], nullcontext),
        "no router": ([], nullcontext),
        "django-multidb-router": ([PinningReplicaRouter()], unpinned),
        "django_replicated": ([replicated], slave_state),
        OURS: (None, reading.scope),
    }


@contextmanager
def routed_by(routers):
    """Use these routers, or with None, the example's own router, which also watches queries."""
    from django.db import connections, router

    if routers is None:
        yield
        return
    own = router.routers
    wrappers = {connection: connection.execute_wrappers for connection in connections.all()}
    router.routers = routers
    for connection in wrappers:
        connection.execute_wrappers = []
    try:
        yield
    finally:
        router.routers = own
        for connection, its_wrappers in wrappers.items():
            connection.execute_wrappers = its_wrappers


def measure_routers():
    """Time a decision, the first decision of a request, and a query with its decision."""
    from django.db import router

    from products.models import Product
    from replicas import reading

    def decide(routers, request, number=10_000):
        with routed_by(routers), request():
            db_for_read = router.db_for_read
            for _ in repeat(None, number):
                db_for_read(Product)
        return number

    def begin(routers, request, number=200):
        with routed_by(routers):
            for _ in repeat(None, number):
                with request():
                    router.db_for_read(Product)
        return number

    def get(routers, request, number=100):
        with routed_by(routers), request():
            for pk in range(1, 1 + number):
                Product.objects.get(pk=pk)
        return number

    def visit(routers, request, number=5):
        with routed_by(routers):
            for pk in range(1, 1 + number):
                with request():
                    Product.objects.get(pk=pk)
        return number

    @contextmanager
    def scope_after_write():
        with reading.scope() as scope:
            scope["default"].note_write()
            yield

    requests = candidates()
    for name, (routers, request) in requests.items():
        with routed_by(routers), request():
            on_replica = Product.objects.get(pk=1)._state.db != "default"
            assert on_replica == (name != "no router"), name

    def each(measure, requests=requests):
        return {name: partial(measure, *request) for name, request in requests.items()}

    firsts = requests | {f"{OURS}, a write before": (None, scope_after_write)}
    return {
        "decision": compare("A routing decision, in a request", "ns", each(decide), 41),
        "first_decision": compare(
            "A request's beginning, and its first decision", "µs", each(begin, firsts), 101
        ),
        "get": compare("Product.objects.get(pk=…), in a request", "µs", each(get), 61),
        "request": compare("A request with one get()", "µs", each(visit, firsts), 201),
    }


def measure_lag(rounds=5, writes=150):
    """Replicate, and measure when a committed row can be read from each replica."""
    from products.models import Product
    from replication import files
    from replication.management.commands.replicate import POLL

    written = "SELECT seq FROM sqlite_sequence WHERE name = 'replication_log'"
    reached = "SELECT position FROM replication_position"

    def lags(primary, replicas):
        for number in range(writes):
            sleep(random.uniform(POLL, 3 * POLL))  # a random time between two reads of the log
            Product.objects.create(name=f"Metronome {number}", description="Ticks.", price=1)
            committed = perf_counter()
            (position,) = primary.execute(written).fetchone()
            waiting = list(replicas)
            while waiting:
                if follower.poll() is not None:
                    sys.exit("manage.py replicate --follow has stopped.")
                for replica in list(waiting):
                    if replica.execute(reached).fetchone()[0] >= position:
                        yield perf_counter() - committed
                        waiting.remove(replica)
                sleep(0.0001)

    medians, p95s = [], []
    follower = subprocess.Popen(
        [sys.executable, "manage.py", "replicate", "--follow"], stdout=subprocess.DEVNULL
    )
    try:
        with closing(files.connect(files.path_of("default"), "ro")) as primary:
            replicas = [files.connect(path, "ro") for path in files.replicas().values()]
            for _ in range(1 + rounds):  # the first round includes the start of the follower
                milliseconds = [lag * 1e3 for lag in lags(primary, replicas)]
                medians.append(median(milliseconds))
                p95s.append(quantiles(milliseconds, n=20)[-1])
            for replica in replicas:
                replica.close()
    finally:
        follower.terminate()
        follower.wait()
    lag = {"median": summary(medians[1:]), "p95": summary(p95s[1:])}
    print(f"\nFrom a COMMIT on the primary to the row on a replica (poll: {POLL * 1e3:g} ms)")
    for name, figures in lag.items():
        print("  {}: {median} ms ({min}–{max})".format(name, **figures), flush=True)
    return {
        "lag": {"unit": "ms", "runs": rounds, "writes": writes, "poll": POLL * 1e3, "figures": lag}
    }


def measure_servers_lag(rounds=5, writes=100):
    """Measure when a committed row can be read from a server's replica, by reading in a loop."""
    from django.db import connections

    from products.models import Product
    from replicas import health

    def lag(number):
        Product.objects.create(name=f"Metronome {number}", description="Ticks.", price=1)
        committed = perf_counter()
        position = health.position().written(connections["default"])
        while not health.reached("replica1", position):
            pass
        return (perf_counter() - committed) * 1e3

    medians, p95s = [], []
    for _ in range(1 + rounds):
        milliseconds = [lag(number) for number in range(writes)]
        medians.append(median(milliseconds))
        p95s.append(quantiles(milliseconds, n=20)[-1])
    figures = {"median": summary(medians[1:]), "p95": summary(p95s[1:])}
    print("\nFrom a COMMIT on the primary to the row on a replica")
    for name, figure in figures.items():
        print("  {}: {median} ms ({min}–{max})".format(name, **figure), flush=True)
    return {"lag": {"unit": "ms", "runs": rounds, "writes": writes, "figures": figures}}


def measure_applier(runs=5):
    """Time the applier on logs with one change for each review."""
    from replication import files, snapshot
    from replication.applier import Applier

    columns = "product_id, author_id, rating, text, created"
    workloads = {
        "inserts": [f"INSERT INTO reviews_review ({columns}) SELECT {columns} FROM reviews_review"],
        "updates": ["UPDATE reviews_review SET rating = 6 - rating"],
        "deletes": ["DELETE FROM reviews_review"],
        # The worst case: no two successive changes can be applied by one statement.
        "two tables by turns": [
            "UPDATE reviews_review SET rating = 6 - rating WHERE id = :number",
            f"UPDATE products_product SET price = price + 1 WHERE id = 1 + :number % {PRODUCTS}",
        ],
    }

    def copy(path, target):
        with (
            closing(files.connect(path, "ro")) as connection,
            closing(files.connect(target, "rwc")) as its_copy,
        ):
            its_copy.execute("PRAGMA journal_mode = WAL")
            connection.backup(its_copy)

    primaries = {name: Path(f"primary of {name}.sqlite3") for name in workloads}
    start, replica = Path("start.sqlite3"), Path("replica.sqlite3")
    for name, primary in primaries.items():
        copy(files.path_of("default"), primary)
        statements = workloads[name]
        times = REVIEWS // len(statements) if len(statements) > 1 else 1
        with closing(files.connect(primary, "rw")) as connection, files.transaction(connection):
            for number in range(1, 1 + times):
                for statement in statements:
                    connection.execute(statement, {"number": number})
    snapshot.take(files.path_of("default"), start)  # the position at which all these logs continue

    def prepare(name):
        copy(start, replica)

    def apply(name):
        with closing(Applier(primaries[name], replica)) as applier:
            applier.step()
            assert applier.applied == REVIEWS, applier.applied
            return applier.applied

    functions = {name: partial(apply, name) for name in workloads}
    title = f"The applier, on {REVIEWS:,} changes"
    return {"applier": compare(title, "rows/s", functions, runs, prepare)}


def measure_writer():
    """Time writes to the primary without the triggers that write the log, and with them."""
    from django.contrib.auth.models import User
    from django.db import connection, transaction

    from products.models import Product
    from replication import log
    from reviews.models import Review

    product, author = Product.objects.first(), User.objects.first()
    last = Review.objects.latest("pk").pk

    def reviews(number):
        values = {"product": product, "author": author, "rating": 4, "text": "Very good."}
        return [Review(**values) for _ in range(number)]

    def prepare(name):
        """Begin with the same table each time, and with an empty write-ahead log of SQLite."""
        with transaction.atomic():
            log.remove_triggers(connection.connection)
            Review.objects.filter(pk__gt=last).delete()
            if name == "with the log":
                log.install(connection.connection)
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def single(number=100):
        for review in reviews(number):
            review.save()
        return number

    def bulk(number=2_000):
        Review.objects.bulk_create(reviews(number))
        return number

    def sql(number=20_000):
        row = product.pk, author.pk, 4, "Very good.", "2025-01-01 00:00:00"
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO reviews_review (product_id, author_id, rating, text, created) "
                "VALUES (%s, %s, %s, %s, %s)",
                repeat(row, number),
            )
        return number

    def compared(title, write, runs):
        functions = dict.fromkeys(["without the log", "with the log"], write)
        return compare(title, "µs", functions, runs, prepare)

    results = {
        "create": compared("A review is created", single, 61),
        "bulk_create": compared("Reviews are created by bulk_create(), each", bulk, 41),
        "executemany": compared("Reviews are inserted by SQL alone, each", sql, 21),
    }
    prepare("with the log")
    return results


def measure_index():
    """Time a product's page: without an index (primary and replica), with an index, and cached."""
    from django.core.cache import cache
    from django.core.paginator import Paginator
    from django.db import connection

    from products.views import PAGE_SIZE, RATED
    from replication import files
    from reviews.models import Review

    (index,) = Review._meta.indexes
    manage("replicate", "--snapshot")
    with connection.schema_editor() as editor:
        editor.remove_index(Review, index)
    with closing(files.connect(files.replicas()["replica1"], "rw")) as replica:
        replica.execute(f"DROP INDEX {index.name}")

    def page(alias, pk):
        product = RATED.using(alias).get(pk=pk)
        reviews = product.reviews.select_related("author").order_by("-created", "-pk")
        reviews = Paginator(reviews, PAGE_SIZE).get_page(1)
        return product, reviews.paginator.count, list(reviews)

    def pages(get, number):
        for pk in random.sample(range(1, 1 + PRODUCTS), number):
            get(pk)
        return number

    with routed_by([]):
        for pk in range(1, 1 + PRODUCTS):
            cache.set(pk, page("replica2", pk), timeout=None)
        assert page("default", 1) == page("replica1", 1) == cache.get(1)
        functions = {
            "the primary, no index": partial(pages, partial(page, "default"), 10),
            "a replica, no index": partial(pages, partial(page, "replica1"), 10),
            "with the index": partial(pages, partial(page, "replica2"), 200),
            "from a cache": partial(pages, cache.get, PRODUCTS),
        }
        title = f"The queries of a product's page, over {REVIEWS:,} reviews"
        return {"index": compare(title, "ms", functions, runs=11)}


def main():
    random.seed(0)
    engine = engine_named()
    if engine == "sqlite":
        packages, rest = versions_of(PACKAGES), [measure_lag, measure_applier]
        rest += [measure_writer, measure_index]
    else:
        # The log and its applier are the example's own, for SQLite.
        packages, rest = versions_of([*PACKAGES, SERVERS[engine][1]]), [measure_servers_lag]
    with copy_of("replication"), servers_of(engine) as settings_of_servers:
        set_up(engine, **settings_of_servers)
        results = {}
        for measure in (measure_routers, *rest):
            results |= measure()
        save("replication", packages, results, engine)


if __name__ == "__main__":
    main()
