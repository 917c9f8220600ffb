"""The cost of shadowing: a table under an overlay, compared with the same rows in a plain table.

Run by ``make bench``, from the root of the project: ``python -m benchmarks.shadowing``.
"""

import io
import os
import random
import shutil
import subprocess
import sys
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain, islice
from operator import attrgetter
from pathlib import Path
from sqlite3 import connect
from time import perf_counter

from benchmarks import compare, copy_of, manage, save, summary, versions_of

PACKAGES = ["Django"]
ROWS = 1_000_000  # in the snapshot
OVERLAID = 10_000  # a third added, a third changed, a third deleted
GROWTH = [0, 100, OVERLAID, 100_000]  # overlaid rows
TOP = 20
PRIME = 1_299_709  # more than the number of any row, so that no two prices are equal
COLUMNS = "id, category_id, code, name, description, price"
OURS = "examples/shadowing"
PLAIN = "a plain table"


def alias_of(overlaid):
    return "default" if overlaid == OVERLAID else f"overlay_{overlaid}"


def plain_of(overlaid):
    return f"plain_{overlaid}"


def row(number, key):
    """Return a product's columns. Its price is an even number of pence."""
    from shop.samples import CLOCKS, MANNERS

    manner, habit = MANNERS[number % len(MANNERS)]
    clock, warning = CLOCKS[number % len(CLOCKS)]
    price = 2 * (number * 48_271 % PRIME) / 100
    category = 1 + number % len(CLOCKS)
    return key, category, f"C{number:07}", f"{manner} {clock}", f"{habit} {warning}", price


def driver(alias):
    """Return the sqlite3 connection that Django has to a database, as Django has set it up."""
    from django.db import connections

    connections[alias].ensure_connection()
    return connections[alias].connection


def set_up():
    """Fill production, take the snapshot, and make for each of GROWTH an overlay and a table."""
    print(f"{ROWS:,} products, {OVERLAID:,} of them overlaid…", flush=True)
    os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
    import django
    from django.conf import settings

    settings.DEBUG = False  # otherwise Django stores each query
    for overlaid in GROWTH:
        settings.DATABASES[alias_of(overlaid)] = settings.DATABASES["default"] | {
            "NAME": Path(f"{alias_of(overlaid)}.sqlite3").resolve()
        }
        settings.DATABASES[plain_of(overlaid)] = {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": Path(f"{plain_of(overlaid)}.sqlite3").resolve(),
            "OPTIONS": {"transaction_mode": "IMMEDIATE"},
        }
    django.setup()
    from django.db import connections

    manage("vendor_catalogue")
    manage("migrate", "--settings=shop.live")
    manage("populate", "--settings=shop.live", "--products=0", "--customers=0", "--reviews=0")
    with closing(connect("live.sqlite3")) as live, live:
        insert(live, (row(number, number) for number in range(1, 1 + ROWS)))
    manage("snapshot", "--settings=shop.live")
    for overlaid in GROWTH:
        connections[alias_of(overlaid)].make_overlay()
        table = Path(f"{plain_of(overlaid)}.sqlite3")
        shutil.copyfile(settings.SNAPSHOT, table)
        for alias in plain_of(overlaid), alias_of(overlaid):
            change(driver(alias), overlaid)


def insert(connection, rows):
    connection.executemany(
        f"INSERT INTO products_product ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", rows
    )


def change(connection, number):
    """Add, change and delete this many rows in total, all over the table."""
    from overlay.tables import LAST_SNAPSHOT_KEY

    keys = random.Random(number).sample(range(1, 1 + ROWS), number - number // 3)
    changed, deleted = keys[: number // 3], keys[number // 3 :]
    added = (row(ROWS + n, LAST_SNAPSHOT_KEY + n) for n in range(1, 1 + number // 3))
    prices = (((2 * (key * 69_621 % PRIME) + 1) / 100, key) for key in changed)  # odd
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("UPDATE products_product SET price = ? WHERE id = ?", prices)
    connection.executemany("DELETE FROM products_product WHERE id = ?", zip(deleted, strict=True))
    insert(connection, added)
    connection.execute("COMMIT")


def questions():
    """Return a dict of the queries: ``{name: (title, times in a run, question)}``.

    A question takes a queryset of products, and returns an answer that can be compared.
    """
    from django.db.models import Avg

    def rows(products):
        return list(map(attrgetter("pk", "code", "price", "category_id"), products))

    def mean(products):
        (price,) = products.aggregate(Avg("price")).values()
        return round(price, 6)  # the last digits of a sum of floats depend on the order

    def listed(products):
        return [(product.pk, product.category.name) for product in products]

    sundials = {"category__name": "sundial"}
    return {
        "top": (
            "The first 20 by price",
            40,
            lambda products: rows(products.order_by("price")[:TOP]),
        ),
        "count": ("count()", 2, lambda products: products.count()),
        "aggregate": ("aggregate(Avg('price'))", 2, mean),
        "page": (
            "A page of 20 of one category, by key",
            40,
            lambda products: rows(products.filter(category=5).order_by("pk")[:TOP]),
        ),
        "page_count": (
            "count() of one category",
            10,
            lambda products: products.filter(category=5).count(),
        ),
        "page_aggregate": (
            "aggregate(Avg('price')) of one category",
            2,
            lambda products: mean(products.filter(category=5)),
        ),
        "last_page": (
            "The last page of 20 of all, by key",
            2,
            lambda products: rows(products.order_by("pk")[ROWS - 2 * TOP : ROWS - TOP]),
        ),
        "list": (
            "A page of the product list: 20 with their categories, by prefetch_related()",
            40,
            lambda products: listed(products.prefetch_related("category").order_by("pk")[:TOP]),
        ),
        "join": (
            "The same by select_related(), a JOIN",
            1,
            lambda products: listed(products.select_related("category").order_by("pk")[:TOP]),
        ),
        "join_filter": (
            "A page of 20 of one category by its name, a JOIN",
            1,
            lambda products: rows(products.filter(**sundials).order_by("pk")[:TOP]),
        ),
        "join_count": (
            "count() of one category by its name, a JOIN",
            1,
            lambda products: products.filter(**sundials).count(),
        ),
    }


def repeated(question, alias, times):
    from products.models import Product

    for _ in range(times):
        question(Product.objects.using(alias))
    return times


def measure_reads(runs=7):
    """Time each query, and get(), on an overlay and on a plain table."""
    from products.models import Product

    results = {}
    for name, (title, times, question) in questions().items():
        functions = {
            PLAIN: partial(repeated, question, plain_of(OVERLAID), times),
            OURS: partial(repeated, question, alias_of(OVERLAID), times),
        }
        results[name] = compare(title, "ms", functions, runs)

    local = Product.objects.using("default").raw(
        "SELECT * FROM main.overlay_products_product WHERE NOT gone"
    )
    local = [product.pk for product in local]
    hidden = driver("default").execute("SELECT id FROM main.overlay_products_product")
    others = list(set(range(1, 1 + ROWS)) - {key for (key,) in hidden})

    def get(alias, keys, number=200):
        for pk in random.sample(keys, number):
            Product.objects.using(alias).get(pk=pk)
        return number

    functions = {
        PLAIN: partial(get, plain_of(OVERLAID), others),
        OURS: partial(get, alias_of(OVERLAID), others),
        f"{OURS}, a local row": partial(get, alias_of(OVERLAID), local),
    }
    return results | {"get": compare("Product.objects.get(pk=…)", "µs", functions, 21)}


def measure_growth(runs=5):
    """Time the first 20, count() and an aggregate by how many rows are overlaid."""
    results = {}
    for name in "top", "count", "aggregate":
        title, times, question = questions()[name]
        functions = {PLAIN: partial(repeated, question, plain_of(OVERLAID), times)}
        for overlaid in GROWTH:
            functions[f"{overlaid:,}"] = partial(repeated, question, alias_of(overlaid), times)
        title = f"{title}, by overlaid rows"
        results[f"{name}_growth"] = compare(title, "ms", functions, runs)
    return results


def measure_merge():
    """Time two querysets, merged in Python: correct, because all local keys are excluded."""
    from django.db import models

    from products.models import Product

    class Local(models.Model):  # noqa: DJ008
        id = models.BigIntegerField(primary_key=True)
        category_id = models.BigIntegerField()
        code = models.CharField(max_length=20)
        name = models.CharField(max_length=100)
        description = models.TextField()
        price = models.DecimalField(max_digits=8, decimal_places=2)
        gone = models.BooleanField()

        class Meta:
            app_label = "plain"
            managed = False
            db_table = "overlay_products_product"

    def parts():
        local = Local.objects.using("default")
        keys = list(local.values_list("pk", flat=True))
        return local.filter(gone=False), Product.objects.using("production").exclude(pk__in=keys)

    price = attrgetter("price")

    def top():
        slices = (part.order_by("price")[:TOP] for part in parts())
        return sorted(chain(*slices), key=price)[:TOP]

    def whole():
        return sorted(chain(*parts()), key=price)[:TOP]

    def count():
        return sum(part.count() for part in parts())

    def view(name):
        _, _, question = questions()[name]
        return partial(repeated, question, "default", 1)

    def once(function):
        function()
        return 1

    plain = Product.objects.using(plain_of(OVERLAID))
    dearest = [product.price for product in plain.order_by("price")[:TOP]]
    assert dearest == [product.price for product in top()]
    assert plain.count() == count()
    tops = {OURS: view("top"), "two slices, merged": partial(once, top)}
    wholes = {OURS: view("top"), "two tables, merged": partial(once, whole)}
    counts = {OURS: view("count"), "two counts, added": partial(once, count)}
    return {
        "merged_top": compare("The first 20 by price, merged in Python", "ms", tops, 7),
        "merged_whole": compare("The same, of all rows merged", "ms", wholes, 1),
        "merged_count": compare("count(), added in Python", "ms", counts, 7),
    }


def measure_writes():
    """Time writes to an overlay, and to a plain table."""
    from django.db.models import F

    from products.models import Product

    aliases = {PLAIN: plain_of(OVERLAID), OURS: alias_of(OVERLAID)}
    hidden = driver("default").execute("SELECT id FROM main.overlay_products_product")
    touched = {key for (key,) in hidden}
    untouched = {
        name: (key for key in range(ROWS // 2, ROWS) if key not in touched) for name in aliases
    }
    batches = {}
    numbers = {name: iter(range(2 * ROWS, 3 * ROWS)) for name in aliases}

    def each(function, *arguments):
        return {name: partial(function, name, *arguments) for name in aliases}

    def create(name, number=50):
        for code in islice(numbers[name], number):
            Product.objects.using(aliases[name]).create(
                category_id=1, code=f"C{code}", name="New clock", description="", price="19.99"
            )
        return number

    def fetch(name, number=50):
        keys = list(islice(untouched[name], number))
        batches[name] = list(Product.objects.using(aliases[name]).filter(pk__in=keys))
        assert len(batches[name]) == number

    def save_each(name):
        for product in batches[name]:
            product.price += 1
            product.save(using=aliases[name])
        return len(batches[name])

    def fetch_and_save(name):
        fetch(name)
        save_each(name)

    def some(name):
        return Product.objects.using(aliases[name]).filter(pk__range=(first, last))

    first, last = ROWS // 4, ROWS // 2
    last = some(PLAIN).order_by("pk")[OVERLAID - 1].pk
    fresh = [(key,) for key in range(first, 1 + last) if key not in touched]
    updated = set()

    def forget(name):
        """Undo the update before. In an overlay, also remove these rows from the local table."""
        if name in updated:
            some(name).update(price=F("price") - 1)
        updated.add(name)
        if name == OURS:
            driver(aliases[name]).execute("BEGIN IMMEDIATE")
            delete = "DELETE FROM main.overlay_products_product WHERE id = ?"
            driver(aliases[name]).executemany(delete, fresh)
            driver(aliases[name]).execute("COMMIT")

    def update(name):
        assert some(name).update(price=F("price") + 1) == OVERLAID
        return 1

    title = "save() of a row"
    results = {
        "create": compare("Product.objects.create(…)", "ms", each(create), 11),
        "save_first": compare(f"{title}, for the first time", "ms", each(save_each), 11, fetch),
        "save_again": compare(f"{title}, again", "ms", each(save_each), 11, fetch_and_save),
    }
    check(OVERLAID)
    title = f"update() of {OVERLAID:,} rows"
    results |= {
        "update_first": compare(f"{title}, for the first time", "ms", each(update), 5, forget),
        "update_again": compare(f"{title}, again", "ms", each(update), 5),
    }
    check(OVERLAID)
    return results


def measure_worst(runs=7):
    """Time the first 20 rows, after OVERLAID rows with lower prices were deleted."""
    first = f"SELECT id FROM products_product ORDER BY price LIMIT {OVERLAID}"
    keys = driver(plain_of(OVERLAID)).execute(first).fetchall()
    aliases = {PLAIN: plain_of(OVERLAID), OURS: alias_of(OVERLAID)}
    for alias in aliases.values():
        connection = driver(alias)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("DELETE FROM products_product WHERE id = ?", keys)
        connection.execute("COMMIT")
    check(OVERLAID)
    title, times, question = questions()["top"]
    functions = {name: partial(repeated, question, aliases[name], times) for name in aliases}
    title = f"{title}, the {OVERLAID:,} before them deleted"
    return {"top_worst": compare(title, "ms", functions, runs)}


def measure_connection():
    """Time a new connection, with its first query: SQLite reads the schema for that."""
    from django.db import connections

    def connect_anew(alias, number=20):
        connection = connections[alias]
        for _ in range(number):
            connection.close()
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM products_category LIMIT 1")
        return number

    functions = {
        PLAIN: partial(connect_anew, plain_of(OVERLAID)),
        OURS: partial(connect_anew, alias_of(OVERLAID)),
    }
    return {"connection": compare("A new connection, and a query", "ms", functions, 11)}


def measure_command(runs=3):
    """Time `overlay status`, `diff` and `export`, without the start of manage.py."""
    from django.core.management import call_command

    def run(action):
        output = io.StringIO()
        call_command("overlay", action, stdout=output)
        assert output.getvalue()
        return 1

    functions = {action: partial(run, action) for action in ("status", "diff", "export")}
    return {"command": compare(f"overlay …, at {OVERLAID:,} rows", "ms", functions, runs)}


# Changes one row in each transaction, without end, and records this in a table.
WRITER = f"""
import random, sqlite3
live = sqlite3.connect("live.sqlite3", timeout=60, isolation_level=None)
while True:
    key = random.randint(1, {ROWS})
    live.execute("BEGIN IMMEDIATE")
    live.execute("UPDATE products_product SET price = price + 1 WHERE id = ?", (key,))
    live.execute("INSERT INTO written VALUES (?)", (key,))
    live.execute("COMMIT")
"""


def measure_snapshot(runs=3):
    """Time `snapshot` of production during writes, compared with cp and backup()."""
    source, target = Path("live.sqlite3"), Path("copied.sqlite3")

    def cp():
        subprocess.run(["cp", source, target], check=True)

    def backup():
        with closing(connect(source)) as live, closing(connect(target)) as copied:
            live.backup(copied)

    def snapshot():
        manage("snapshot", "--settings=shop.live")

    def written():
        with closing(connect(source)) as live:
            return live.execute("SELECT max(rowid) FROM written").fetchone()[0] or 0

    ways = {"snapshot": snapshot, "cp": cp, "backup()": backup}
    seconds = {name: [] for name in ways}
    rates = {name: [] for name in ways}
    with writing():
        while not written():
            pass
        for run in range(1 + runs):
            for name, way in ways.items():
                target.unlink(missing_ok=True)
                before, start = written(), perf_counter()
                way()
                passed = perf_counter() - start
                if run:
                    seconds[name].append(passed)
                    rates[name].append((written() - before) / passed)
    size = summary([Path("snapshot.sqlite3").stat().st_size / 1e6])
    seconds = {name: summary(values) for name, values in seconds.items()}
    rates = {name: summary(values) for name, values in rates.items()}
    print(f"\nA copy of production while it is written to, {size['median']:,.0f} MB")
    for name, figures in seconds.items():
        line = "  {}: {median} s ({min}–{max})".format(name, **figures)
        print(f"{line}; the writer: {rates[name]['median']:,.0f} transactions a second", flush=True)
    return {
        "snapshot": {"unit": "s", "runs": runs, "figures": seconds},
        "snapshot_writer": {"unit": "transactions/s", "runs": runs, "figures": rates},
        "snapshot_size": {"unit": "MB", "runs": 1, "figures": {"size": size}},
    }


@contextmanager
def writing():
    """Write to production from another process."""
    with closing(connect("live.sqlite3")) as live, live:
        live.execute("CREATE TABLE written (key INTEGER)")
    writer = subprocess.Popen([sys.executable, "-c", WRITER])
    try:
        yield
        if writer.poll() is not None:
            sys.exit("The writer has stopped.")
    finally:
        writer.terminate()
        writer.wait()


def check(overlaid):
    """Fail unless each query has the same answer from the overlay and the plain table."""
    from products.models import Product

    for name, (_, _, question) in questions().items():
        aliases = alias_of(overlaid), plain_of(overlaid)
        ours, plain = (question(Product.objects.using(alias)) for alias in aliases)
        assert ours == plain, (overlaid, name, ours, plain)


def main():
    random.seed(0)
    packages = versions_of(PACKAGES)
    with copy_of("shadowing"):
        set_up()
        for overlaid in GROWTH:
            check(overlaid)
        results = {}
        for measure in (
            measure_reads,
            measure_growth,
            measure_merge,
            measure_command,
            measure_connection,
            measure_writes,
            measure_worst,
            measure_snapshot,
        ):
            results |= measure()
    save("shadowing", packages, results)


if __name__ == "__main__":
    main()
