"""The load that one database can handle, on SQLite or PostgreSQL, before you need a second.

Run by ``make bench``, from the root of the project: ``python -m benchmarks.one_database``. Without
PostgreSQL it prints a message and measures nothing, because the page shows both engines.
"""

import os
import random
import shutil
import subprocess
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile, mkdtemp
from time import perf_counter, sleep, time

from benchmarks import compare, copy_of, legible, manage, save, summary, versions_of

PACKAGES = ["Django", "psycopg", "psycopg-pool"]
PRODUCTS = 1_000
REVIEWS = 100_000
PROCESSES = [1, 2, 4]
SECONDS = 1  # for each rate, in each round
ROUNDS = 3
BATCH = 100  # rows
OLD = 100_000  # rows that are removed, of twice as many

ENGINES = {"SQLite": "sqlite", "PostgreSQL": "postgres"}  # a name, and its alias
SETTINGS = """
import os
from shop.settings import *

SERVER = {{
    "ENGINE": "django.db.backends.postgresql",
    "NAME": "postgres",
    "USER": "clockmaker",
    "HOST": "{folder}",
    "CONN_MAX_AGE": None,
}}
ENGINES = {{
    "sqlite": {{
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "one.sqlite3",
        "OPTIONS": {{
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL",
            "timeout": 20,
        }},
        "CONN_MAX_AGE": None,
    }},
    "postgres": SERVER,
    "pooled": SERVER | {{"CONN_MAX_AGE": 0, "OPTIONS": {{"pool": True}}}},
}}
DATABASES = ENGINES | {{"default": ENGINES[os.environ.get("ENGINE", "sqlite")]}}
DATABASE_ROUTERS = []
DEBUG = False  # otherwise Django stores each query
INSTALLED_APPS.remove("replication")
"""


def find_server():
    """Return the folder of PostgreSQL's programs, or None."""
    on_path = shutil.which("initdb")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    return Path(on_path).parent if on_path else next((path.parent for path in installed), None)


@contextmanager
def server(programs):
    """Start PostgreSQL with its default settings (fsync is on). Yield the folder of its socket."""
    folder = Path(mkdtemp(prefix="pg"))
    user = None
    if os.geteuid() == 0:  # PostgreSQL does not run as root
        user = "nobody"
        shutil.chown(folder, user)
    run = partial(subprocess.run, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)
    control = [programs / "pg_ctl", "-D", folder / "data", "-w"]
    try:
        run([programs / "initdb", "-D", folder / "data", "-A", "trust", "-U", "clockmaker"])
        run([*control, "-l", folder / "log", "-o", f"-k {folder} -c listen_addresses=", "start"])
        try:
            yield folder
        finally:
            run([*control, "-m", "fast", "stop"])
    finally:
        shutil.rmtree(folder)


def set_up():
    """Fill the shop in each engine, and configure Django for this process."""
    print(f"{PRODUCTS:,} products, {REVIEWS:,} reviews, in each engine…", flush=True)
    os.environ["DJANGO_SETTINGS_MODULE"] = "shop.one"
    for alias in ENGINES.values():
        os.environ["ENGINE"] = alias
        manage("migrate")
        manage("populate", f"--products={PRODUCTS}", f"--reviews={REVIEWS}")
    start_django()
    from django.db import connections

    for alias in ENGINES.values():
        with connections[alias].cursor() as cursor:
            cursor.execute("ANALYZE")


def start_django():
    import django

    django.setup()


def get(alias):
    from reviews.models import Review

    Review.objects.using(alias).get(pk=random.randint(1, REVIEWS))


def page(alias):
    """The newest reviews of a product, with their authors."""
    from reviews.models import Review

    reviews = Review.objects.using(alias).filter(product_id=random.randint(1, PRODUCTS))
    list(reviews.select_related("author").order_by("-created")[:20])


def insert(alias):
    make_review().save(using=alias, force_insert=True)


def make_review():
    from reviews.models import Review

    product = random.randint(1, PRODUCTS)
    return Review(product_id=product, author_id=1, rating=5, text="I set the radio by it.")


def work(operation, alias, start):
    """Repeat an operation from ``start`` on, for `SECONDS`. Return the number of operations."""
    operation(alias)  # opens the connection, which then stays open
    sleep(max(0, start - time()))
    done, end = 0, start + SECONDS
    while time() < end:
        operation(alias)
        done += 1
    return done


def measure_rates():
    """Measure the rate of each operation with one process, and with more processes."""
    rates = {}
    context = get_context("spawn")
    with ProcessPoolExecutor(max(PROCESSES), context, start_django) as pool:
        for _ in range(1 + ROUNDS):
            for operation, unit in [(get, "gets/s"), (page, "pages/s"), (insert, "rows/s")]:
                for engine, alias in ENGINES.items():
                    for processes in PROCESSES:
                        start = time() + 0.3
                        # Each task is busy until all are done, so each gets its own process.
                        tasks = [
                            pool.submit(work, operation, alias, start) for _ in range(processes)
                        ]
                        rate = sum(task.result() for task in tasks) / SECONDS
                        key = operation.__name__, unit, engine
                        rates.setdefault(key, {}).setdefault(processes, []).append(rate)
    results = {}
    for (name, unit, engine), by_processes in rates.items():
        one, *more = by_processes.values()
        table = results.setdefault(name, {"unit": unit, "runs": ROUNDS, "figures": {}})
        table["figures"][engine] = summary(one[1:])
        growth = results.setdefault(
            f"{name}_growth", {"unit": "times", "runs": ROUNDS, "figures": {}}
        )
        for processes, values in zip(PROCESSES[1:], more, strict=True):
            ratios = (value / alone for value, alone in zip(values[1:], one[1:], strict=True))
            growth["figures"][f"{engine}, {processes} processes"] = summary(ratios)
        all_rates = [legible(median(values[1:])) for values in by_processes.values()]
        print(f"  {engine}, {name}, {unit} by {PROCESSES} processes: {', '.join(all_rates)}")
    return results


def measure_commits(number=200):
    """Measure how often in a second a file next to the databases is written to the disk."""
    rates = []
    with TemporaryFile(dir=".") as file:
        for _ in range(1 + ROUNDS):
            start = perf_counter()
            for _ in range(number):
                file.write(bytes(8192))
                file.flush()
                os.fsync(file.fileno())
            rates.append(number / (perf_counter() - start))
    figure = summary(rates[1:])
    print("  8 KB, on the disk: {median:,.0f} a second ({min:,.0f}–{max:,.0f})".format(**figure))
    figures = {"write and fsync": figure}
    return {"commits": {"unit": "commits/s", "runs": ROUNDS, "figures": figures}}


def measure_batches(number=5):
    """Time rows that are written one by one, and many rows in one transaction."""
    from reviews.models import Review

    def one_by_one(alias):
        for _ in range(BATCH):
            insert(alias)
        return BATCH

    def together(alias):
        for _ in range(number):
            Review.objects.using(alias).bulk_create([make_review() for _ in range(BATCH)])
        return number * BATCH

    functions = {}
    for engine, alias in ENGINES.items():
        functions[f"{engine}, each by itself"] = partial(one_by_one, alias)
        functions[f"{engine}, {BATCH} together"] = partial(together, alias)
    return {"batch": compare("Reviews written", "rows/s", functions, ROUNDS)}


def measure_queries(number=20):
    """Time 20 reviews, with a query for each author and product, or with one query for all."""
    from reviews.models import Review

    def read(alias, *related):
        for _ in range(number):
            first = random.randint(1, REVIEWS - 20)
            reviews = Review.objects.using(alias).filter(pk__gte=first).order_by("pk")
            reviews = reviews.select_related(*related) if related else reviews
            for review in reviews[:20]:
                assert review.author.username and review.product.name
        return number

    functions = {}
    for engine, alias in ENGINES.items():
        functions[f"{engine}, a query for each"] = partial(read, alias)
        functions[f"{engine}, select_related()"] = partial(read, alias, "author", "product")
    return {"queries": compare("20 reviews, author, product", "ms", functions, ROUNDS)}


def measure_connections(number=50):
    """Time a get() at the start of a request, with connections from different sources."""
    from django.db import connections

    def asked(alias, close):
        for _ in range(number):
            get(alias)
            if close:
                connections[alias].close()
        return number

    functions = {
        "PostgreSQL, a connection kept": partial(asked, "postgres", close=False),
        "PostgreSQL, a pool": partial(asked, "pooled", close=True),
        "PostgreSQL, connecting each time": partial(asked, "postgres", close=True),
        "SQLite, a connection kept": partial(asked, "sqlite", close=False),
        "SQLite, connecting each time": partial(asked, "sqlite", close=True),
    }
    try:
        return {"connection": compare("get(), and its connection", "ms", functions, ROUNDS)}
    finally:
        connections["pooled"].close_pool()


def measure_old_rows(runs=3):
    """Time the removal of the older half of a table: by DELETE, or by dropping its partition."""
    from django.db import connections

    columns = "(id bigint, created date, text text)"
    rows = (
        "SELECT n, date '2025-01-01' + n / 1000, 'I set the radio by it.' "
        f"FROM generate_series(0, {2 * OLD - 1}) AS n"
    )
    middle = f"date '2025-01-01' + {OLD // 1000}"
    table = f"CREATE TABLE log {columns}"
    parts = [
        f"{table} PARTITION BY RANGE (created)",
        f"CREATE TABLE log_old PARTITION OF log FOR VALUES FROM (MINVALUE) TO ({middle})",
        f"CREATE TABLE log_new PARTITION OF log FOR VALUES FROM ({middle}) TO (MAXVALUE)",
    ]

    def execute(*statements):
        with connections["postgres"].cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    ways = {
        "DELETE": ([table], f"DELETE FROM log WHERE created < {middle}"),
        "DROP of a partition": (parts, "DROP TABLE log_old"),
    }

    def prepare(name):
        index = "CREATE INDEX log_created ON log (created)"
        fill = f"INSERT INTO log {rows}"
        execute("DROP TABLE IF EXISTS log", *ways[name][0], index, fill, "CHECKPOINT")

    def drop(name):
        execute(ways[name][1])
        return 1

    functions = {name: partial(drop, name) for name in ways}
    title = f"{OLD:,} of {2 * OLD:,} rows, PostgreSQL"
    result = compare(title, "ms", functions, runs, prepare)
    execute("DROP TABLE log")
    return {"old_rows": result | {"rows": 2 * OLD}}


def main():
    programs = find_server()
    if programs is None:
        print("one_database: skipped, because PostgreSQL is not installed (no initdb)")
        return
    random.seed(0)
    packages = versions_of(PACKAGES)
    with copy_of("replication"), server(programs) as folder:
        Path("shop/one.py").write_text(SETTINGS.format(folder=folder))
        set_up()
        from django.db import connections

        with connections["postgres"].cursor() as cursor:
            cursor.execute("SHOW server_version")
            packages["PostgreSQL"] = cursor.fetchone()[0].split()[0]
        results = {}
        for measure in (
            measure_commits,
            measure_queries,
            measure_connections,
            measure_rates,
            measure_batches,
            measure_old_rows,
        ):
            results |= measure()
        connections.close_all()
    save("one_database", packages, results)


if __name__ == "__main__":
    main()
