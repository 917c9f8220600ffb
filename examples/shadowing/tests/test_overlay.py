"""The overlay's barriers, its command, a refreshed snapshot, and several processes at once."""

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, IntegrityError, connection, connections
from django.db.models import F

from overlay.export import PROLOGUE
from overlay.rows import differences, discard, keep, origins, overlaid_models
from overlay.tables import LAST_SNAPSHOT_KEY
from products.models import Category, Product
from tests import marks

pytestmark = marks.rows


@pytest.fixture
def files(filled, tmp_path, monkeypatch, django_db_blocker):
    """Open an overlay over a snapshot, both in files of this test's own."""
    for name in "snapshot.sqlite3", "local.sqlite3":
        shutil.copy(filled / name, tmp_path)
    (tmp_path / "snapshot.sqlite3").chmod(0o644)  # so that nothing but the connection guards it
    names = {
        "default": tmp_path / "local.sqlite3",
        "production": f"{(tmp_path / 'snapshot.sqlite3').as_uri()}?mode=ro",
    }
    with django_db_blocker.unblock():
        for alias, name in names.items():
            monkeypatch.setitem(connections.settings[alias], "NAME", name)
            monkeypatch.setattr(connections[alias], "connection", None)
        yield tmp_path
        for alias in names:
            connections[alias].close()


def refresh(folder, *statements):
    """Change the snapshot, as if production had changed and a new one been made."""
    connections["default"].close()
    with closing(sqlite3.connect(folder / "snapshot.sqlite3")) as snapshot:
        for statement in statements:
            snapshot.execute(statement)
        snapshot.commit()


def new_product(code="new", **values):
    return Product.objects.create(code=code, category_id=1, price=5, **values)


# Barriers.


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO snapshot.products_category (name) VALUES ('x')",
        "UPDATE snapshot.products_product SET price = 0",
        "DELETE FROM snapshot.products_product",
        "DROP TABLE snapshot.products_product",
        "UPDATE customers_customer SET name = 'x'",  # found in the snapshot, as it is nowhere else
    ],
)
def test_the_snapshot_is_attached_read_only(files, statement):
    with pytest.raises(DatabaseError, match="readonly database"), connection.cursor() as cursor:
        cursor.execute(statement)


def test_it_is_read_only_whatever_its_own_settings_say(files, monkeypatch):
    monkeypatch.setitem(connections.settings["production"], "NAME", files / "snapshot.sqlite3")
    with pytest.raises(DatabaseError, match="readonly database"), connection.cursor() as cursor:
        cursor.execute("DELETE FROM snapshot.products_product")


def test_no_write_reaches_the_file(files):
    before = (files / "snapshot.sqlite3").read_bytes()
    Product.objects.update(price=F("price") + 1)
    Product.objects.filter(orders=None).delete()
    new_product()
    connection.close()
    assert (files / "snapshot.sqlite3").read_bytes() == before


# What looks right and is not.


@pytest.mark.xfail(strict=True, reason="two querysets merged in Python are not one table")
def test_a_page_of_two_querysets_merged_is_a_page(files):
    cheapest = Product.objects.using("production").order_by("price").first()
    Product.objects.filter(pk=cheapest.pk).update(price=99999)  # no longer the cheapest
    Product.objects.filter(pk=cheapest.pk + 1).delete()

    def page(size):
        snapshot = Product.objects.using("production").order_by("price")[:size]
        keys = [one.key for one in differences(Product) if one.kind != "deleted"]
        local = Product.objects.filter(pk__in=keys)
        merged = {one.pk: one for one in [*snapshot, *local]}
        return sorted(merged.values(), key=lambda one: one.price)[:size]

    assert page(3) == list(Product.objects.order_by("price")[:3])


@pytest.mark.xfail(strict=True, reason="a row that is changed here is counted twice")
def test_two_counts_added_are_a_count(files):
    Product.objects.filter(pk=1).update(price=1)
    new_product()
    merged = Product.objects.using("production").count() + len(differences(Product))
    assert merged == Product.objects.count()


# Keys.


def test_keys_are_above_the_snapshots(files):
    assert new_product().pk == LAST_SNAPSHOT_KEY + 1
    made = Category.objects.bulk_create([Category(name="a"), Category(name="b")])
    assert [one.pk for one in made] == [LAST_SNAPSHOT_KEY + 1, LAST_SNAPSHOT_KEY + 2]


def test_a_key_is_not_given_twice(files):
    first = new_product()
    key = first.pk
    first.delete()
    assert new_product().pk == key + 1


def test_sql_by_hand_gets_a_key_too(files):
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO products_category (name) VALUES ('by hand')")
        assert cursor.rowcount == 1
    assert Category.objects.get(name="by hand").pk > LAST_SNAPSHOT_KEY


def test_how_many_rows_a_cursor_changed(files):
    with connection.cursor() as cursor:
        sql = "UPDATE products_product SET price = 1 WHERE id = %s"
        cursor.executemany(sql, [[1], [2]])
        assert cursor.rowcount == 2
        cursor.execute(sql, [999])
        assert cursor.rowcount == 0
        cursor.execute("DELETE FROM reviews_review")  # a table has its own say
        cursor.execute("SELECT 1")
        assert cursor.rowcount == -1


@pytest.mark.parametrize(
    "refused",
    [
        lambda: Product.objects.filter(pk=1).update(id=999),
        lambda: Product.objects.bulk_create(
            [Product(code="new", category_id=1, price=1)],
            update_conflicts=True,
            unique_fields=["code"],
            update_fields=["price"],
        ),
    ],
    ids=["another key", "update_conflicts"],
)
def test_what_a_view_refuses(files, refused):
    with pytest.raises(DatabaseError, match="can't be changed|cannot UPSERT a view"):
        refused()


def test_rows_that_are_there_are_ignored(files):
    name = Category.objects.first().name
    before = Category.objects.count()
    some = [Category(name=name), Category(name="new"), Category(name="new")]
    Category.objects.bulk_create(some, ignore_conflicts=True)
    assert Category.objects.count() == before + 1


CREATE = """
import django, sys
django.setup()
from products.models import Product
for n in range(40):
    Product.objects.create(code=f"{sys.argv[1]} {n}", category_id=1, price=1)
"""


def test_processes_at_once_get_keys_of_their_own(shop):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, name],
            cwd=shop.folder,
            env={"DJANGO_SETTINGS_MODULE": "shop.settings", "PATH": ""},
        )
        for name in ("a", "b")
    ]
    assert [process.wait() for process in processes] == [0, 0]
    assert "80" in shop.does("overlay", "status").splitlines()[2]


def test_each_threads_connection_has_the_overlay(files, django_db_blocker):
    new_product()
    found = []

    def ask():
        found.append(Product.objects.filter(code="new").exists())
        connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert found == [True]


# What differs, and a snapshot that changes beneath.


def test_origins_in_one_query(files, django_assert_num_queries):
    added = new_product().pk
    Product.objects.filter(pk=1).update(price=1)
    before = Product.objects.get(pk=2).price
    Product.objects.filter(pk=2).update(price=1)
    Product.objects.filter(pk=2).update(price=before)
    with django_assert_num_queries(1):
        assert origins(Product, [1, 2, 3, added]) == {1: "changed", added: "added"}


def test_differences(files):
    product = Product.objects.get(pk=1)
    Product.objects.filter(pk=1).update(price=1)
    Product.objects.filter(orders=None, pk__gt=1).first().delete()
    changed, deleted = differences(Product)
    assert (changed.key, changed.kind, changed.conflict) == (1, "changed", "")
    assert changed.fields == {"price": (product.price, 1, product.price)}
    assert deleted.kind == "deleted"
    assert discard(Product, [1]) == 1
    assert Product.objects.get(pk=1).price == product.price
    assert discard(Product) == 1
    assert differences(Product) == []


def test_refreshed_beneath(files):
    Product.objects.filter(pk__lt=4).update(price=1)
    new_product("twice")
    refresh(
        files,
        "UPDATE products_product SET name = 'theirs' WHERE id = 1",
        "UPDATE products_product SET price = 1 WHERE id = 2",
        "DELETE FROM products_product WHERE id = 3",
        "UPDATE products_product SET code = 'twice' WHERE id = 4",
    )
    found = {one.key: one.conflict for one in differences(Product)}
    assert found == {
        1: "changed in the newer snapshot",
        3: "deleted in the newer snapshot",
        LAST_SNAPSHOT_KEY + 1: "a row of the newer snapshot has the same code",
    }
    assert Product.objects.get(pk=1).name != "theirs"  # what is here stays
    keep(Product)
    assert {one.key: (one.kind, bool(one.conflict)) for one in differences(Product)} == {
        1: ("changed", False),
        3: ("added", False),
        LAST_SNAPSHOT_KEY + 1: ("added", True),  # nothing but a change settles this
    }


def test_a_column_that_the_snapshot_lacks(files):
    refresh(files, "ALTER TABLE products_product DROP COLUMN description")
    with pytest.raises(DatabaseError, match="no column description .* the setting SHADOWED"):
        Product.objects.count()


def test_a_new_column_is_added_by_migrate(files):
    Product.objects.filter(pk=1).update(price=1)
    connection.close()
    with closing(sqlite3.connect(files / "local.sqlite3")) as local:
        for column in "description", "base:description":
            local.execute(f'ALTER TABLE overlay_products_product DROP COLUMN "{column}"')
    with pytest.raises(DatabaseError, match="run python manage.py migrate"):
        Product.objects.filter(pk=1).update(price=2)
    connection.make_overlay()
    here = Product.objects.get(pk=1)
    assert here.price == 1
    assert here.description == Product.objects.using("production").get(pk=1).description


def test_columns_with_names_that_an_overlay_might_want(shop):
    models = shop.folder / "products" / "models.py"
    price = "    price = models.DecimalField(max_digits=8, decimal_places=2, db_index=True)\n"
    new = "".join(
        f"    {name} = models.IntegerField(default=7)\n"
        for name in ("base_price", "gone", "base_id")
    )
    assert price in models.read_text()
    models.write_text(models.read_text().replace(price, price + new))
    with (shop.folder / "shop" / "live.py").open("a") as live:
        live.write("HARMLESS['products.Product'] += ['base_price', 'gone', 'base_id']\n")
    shop.does("makemigrations", "products", live=True)
    shop.does("migrate", live=True)
    shop.does("snapshot", live=True)
    (shop.folder / "local.sqlite3").unlink()
    assert "no issues" in shop.does("check", "--database=default")
    shop.does("migrate")
    script = (
        "from products.models import Product; from django.db.models import F, Min;"
        "Product.objects.filter(pk=1).update(base_price=8, gone=1, base_id=F('price') * 0);"
        "Product.objects.filter(orders=None, pk__gt=1).first().delete();"
        "print(*Product.objects.filter(pk=1).values_list('base_price', 'gone', 'base_id'), "
        "Product.objects.count(), Product.objects.aggregate(Min('gone')))"
    )
    assert shop.does("shell", "-v0", "-c", script) == "(8, 1, 0) 39 {'gone__min': 1}\n"
    assert shop.does("overlay", "diff").splitlines()[:4] == [
        "~ products.Product 1 changed",
        "    base_price: 7 -> 8",
        "    gone: 7 -> 1",
        "    base_id: 7 -> 0",
    ]
    shop.does("overlay", "discard", "--no-input")
    assert (
        shop.does(
            "shell",
            "-v0",
            "-c",
            "from products.models import Product as P;"
            "print(P.objects.count(), P.objects.get(pk=1).gone)",
        )
        == "40 7\n"
    )


def test_migrate_again_keeps_the_rows(shop):
    shop.does("shell", "-c", "from products.models import *; Product.objects.update(price=1)")
    before = shop.does("overlay", "diff")
    shop.does("migrate")
    assert shop.does("overlay", "diff") == before != ""


def test_flush_takes_the_local_rows(shop):
    shop.does("shell", "-c", "from products.models import *; Product.objects.update(price=1)")
    shop.does("flush", "--no-input")
    assert shop.does("overlay", "diff") == ""


@pytest.mark.django_db
@pytest.mark.parametrize("run", [1, 2])
def test_a_tests_transaction_is_rolled_back(run):
    assert not Product.objects.filter(code="in a test").exists()
    new_product("in a test")


# The command.


def edit(shop):
    shop.does(
        "shell",
        "-c",
        "from products.models import *\n"
        'c = Category.objects.create(name="it\'s new")\n'
        "Product.objects.create(code='new', category=c, price='2.50', name='n')\n"
        "Product.objects.filter(pk=1).update(price=1)\n"
        "Product.objects.filter(orders=None, pk__gt=1).first().delete()",
    )


def test_status_and_diff(shop):
    edit(shop)
    lines = shop.does("overlay", "status").splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["products.Category", "1", "0", "0", "0"],
        ["products.Product", "1", "1", "1", "0"],
    ]
    diff = shop.does("overlay", "diff", "products.Product")
    assert "~ products.Product 1 changed\n    price: " in diff
    assert " -> 1.00\n" in diff
    assert "CONFLICT" not in diff
    path = shop.folder / "snapshot.sqlite3"
    path.chmod(0o644)
    refresh(shop.folder, "UPDATE products_product SET price = 77 WHERE id = 1")
    diff = shop.does("overlay", "diff", "products.Product")
    assert "CONFLICT: changed in the newer snapshot" in diff
    assert "(in the newer snapshot: 77.00)" in diff


def test_sql_carries_it_to_production_and_overwrites_nothing(shop):
    edit(shop)
    sql = shop.does("overlay", "export")
    with closing(sqlite3.connect(shop.folder / "live.sqlite3")) as live:
        (price,) = live.execute("SELECT price FROM products_product WHERE id = 2").fetchone()
        count = live.execute("SELECT count(*) FROM products_product").fetchone()[0]
        live.executescript(sql)
        assert live.execute("SELECT count(*) FROM products_product").fetchone() == (count,)
        assert live.execute("SELECT price FROM products_product WHERE id = 1").fetchone() == (1,)
        key, name = live.execute(
            "SELECT p.id, c.name FROM products_product p JOIN products_category c "
            "ON p.category_id = c.id WHERE p.code = 'new'"
        ).fetchone()
        assert key < LAST_SNAPSHOT_KEY and name == "it's new"


def test_sql_leaves_what_changed_meanwhile(shop):
    edit(shop)
    update = [line for line in shop.does("overlay", "export").splitlines() if "UPDATE" in line]
    with closing(sqlite3.connect(shop.folder / "live.sqlite3")) as live:
        live.execute("UPDATE products_product SET price = 77 WHERE id = 1")
        assert live.execute(update[0]).rowcount == 0


def test_each_engine_is_told_how_the_sql_is_quoted(shop):
    lines = shop.does("overlay", "export").splitlines()
    assert lines == [*PROLOGUE, "BEGIN;", "COMMIT;"]


@pytest.mark.parametrize("action", ["status", "diff", "export"])
def test_an_engine_that_overlays_no_rows(shop, action):
    settings = shop.folder / "shop" / "settings.py"
    settings.write_text(settings.read_text().replace("overlay.backend", "overlay.attached"))
    process = shop("overlay", action)
    assert process.returncode == 1 and process.stderr.startswith("SystemCheckError")
    process = shop("overlay", "--skip-checks", action)
    assert process.returncode == 1 and process.stderr.count("\n") == 1
    assert 'The engine of database "default" can\'t overlay rows' in process.stderr


def test_fixture(shop):
    edit(shop)
    process = shop("overlay", "export", "--format=fixture")
    assert [one["model"] for one in json.loads(process.stdout)] == [
        "products.category",
        "products.product",
        "products.product",
    ]
    assert "Deleted here: 1 rows." in process.stderr


def test_discard(shop):
    edit(shop)
    refused = shop("overlay", "discard")
    assert refused.returncode == 1 and "--no-input" in refused.stderr
    assert shop.does("overlay", "discard", "products.Product", "1", "--no-input")
    assert "products.Product 1 " not in shop.does("overlay", "diff")
    shop.does("overlay", "discard", "--no-input")
    assert shop.does("overlay", "diff") == ""


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["diff", "products.Nothing"], 'There is no model "products.Nothing".'),
        (["diff", "products"], 'There is no model "products".'),
        (["diff", "customers.Order"], "customers.Order is not overlaid."),
        (["discard", "products.Product", "x"], "Keys of products.Product:"),
        (["discard", "products.Product", "99"], "no difference from the snapshot has the key 99."),
    ],
)
def test_bad_input_in_one_line(shop, arguments, message):
    process = shop("overlay", *arguments)
    assert process.returncode == 1
    assert message in process.stderr and process.stderr.count("\n") == 1


def test_no_snapshot_and_not_migrated(shop):
    (shop.folder / "local.sqlite3").unlink()
    process = shop("overlay", "status")
    assert process.stderr.endswith("run python manage.py migrate --database=default\n")
    (shop.folder / "snapshot.sqlite3").unlink()
    process = shop("overlay", "status")
    assert "There is no snapshot" in process.stderr and process.stderr.count("\n") == 1
    process = shop("migrate")
    assert "(overlay.E001) There is no snapshot" in process.stderr
    assert "Traceback" not in process.stderr and process.returncode == 1


def test_overlaid_must_name_models(settings):
    settings.OVERLAID = ["products"]
    with pytest.raises(ImproperlyConfigured, match='"products", which is not a model'):
        overlaid_models()


def test_an_update_that_would_be_double_is_refused(files):
    with pytest.raises(IntegrityError, match=r"UNIQUE constraint failed: products_product\.code"):
        Product.objects.filter(pk__lt=3).update(code="same")
