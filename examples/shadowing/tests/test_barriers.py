"""Each barrier against writing to production, by itself: the router, the connection, the file."""

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from django.db import DatabaseError, connections
from django.db.models import QuerySet

from customers.models import Customer
from overlay.routers import NotLocal
from products.models import Product
from tests.marks import files, joins
from vendor.models import Article

pytestmark = pytest.mark.django_db(databases=["default", "production", "vendor"])

WRITES = {
    "save": lambda: Customer.objects.first().save(),
    "create": lambda: Customer.objects.create(name="Ada", email="ada@post.example"),
    "bulk_create": lambda: Customer.objects.bulk_create([Customer(name="Ada")]),
    "update": lambda: Customer.objects.update(name="Ada"),
    "delete": lambda: Customer.objects.first().delete(),
    "delete all": lambda: Customer.objects.all().delete(),
    "related": lambda: Customer.objects.first().orders.create(product_id=1, quantity=1),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_the_router(write):
    with pytest.raises(NotLocal, match="is read from the snapshot, so it can't be written"):
        write()


def test_get_or_create_finds_what_exists_and_makes_nothing():
    first = Customer.objects.first()
    for manager in Customer.objects, Customer._default_manager, Customer.objects.order_by("name"):
        assert manager.get_or_create(email=first.email, defaults={"name": "A"}) == (first, False)
    with pytest.raises(NotLocal):
        Customer.objects.get_or_create(email="ada@post.example", defaults={"name": "Ada"})
    with pytest.raises(Customer.MultipleObjectsReturned):
        Customer.objects.get_or_create(name__startswith="Customer")
    with pytest.raises(NotLocal):
        Customer.objects.update_or_create(email=first.email, defaults={"name": "Ada"})
    with pytest.raises(NotLocal):  # a related manager asks by itself
        first.orders.get_or_create(pk=first.orders.first().pk)
    assert Customer.objects.first().name == first.name


def test_a_queryset_of_the_snapshot_is_pickled_as_djangos_own():
    customers = pickle.loads(pickle.dumps(Customer.objects.order_by("pk")[:2]))
    assert type(customers) is QuerySet and list(customers) == list(Customer.objects.all()[:2])


READ_ONLY = {
    "sqlite": "attempt to write a readonly database",
    "postgresql": "in a read-only transaction",
    "mysql": "in a READ ONLY transaction",
}


def refused_by(alias):
    return pytest.raises(DatabaseError, match=READ_ONLY[connections[alias].vendor])


PAST_THE_ROUTER = {
    "update": lambda: Customer.objects.using("production").update(name="Ada"),
    "save": lambda: Product.objects.get(pk=1).save(using="production"),
    "bulk_create": lambda: Customer.objects.using("production").bulk_create([Customer(name="A")]),
    "vendor: update": lambda: Article.objects.update(cents=1),
    "vendor: delete": lambda: Article.objects.all().delete(),
}


@pytest.mark.parametrize(("name", "write"), PAST_THE_ROUTER.items(), ids=PAST_THE_ROUTER)
def test_the_connection_where_the_router_is_passed_by(name, write):
    with refused_by("vendor" if name.startswith("vendor") else "production"):
        write()


@pytest.mark.parametrize(
    ("alias", "statement"),
    [
        ("production", "CREATE TABLE trial (id INTEGER)"),
        ("vendor", "CREATE TABLE trial (id INTEGER)"),
        # As it is attached to the local database.
        pytest.param("default", "UPDATE snapshot.customers_customer SET name = 'Ada'", marks=joins),
    ],
)
def test_the_connection_where_the_orm_is_passed_by(alias, statement):
    with connections[alias].cursor() as cursor, refused_by(alias):
        cursor.execute(statement)


@files
@pytest.mark.parametrize("protected", [True, False])
def test_the_file_where_a_connection_is_opened_for_writing(filled, protected):
    """Where neither router nor ``mode=ro`` is in the way, the file's mode is.

    Root is above modes: what runs as root becomes a user who owns nothing.
    """
    # Not under pytest's own folder, which is closed to other users.
    folder = Path(tempfile.mkdtemp())
    try:
        snapshot = shutil.copy(filled / "snapshot.sqlite3", folder)  # with its mode
        folder.chmod(0o777)
        if not protected:  # without the barrier, the write succeeds: it is the mode that stops it
            os.chmod(snapshot, 0o666)
        write = (
            "import os, sqlite3; os.geteuid() or os.setuid(65534);"
            "c = sqlite3.connect('snapshot.sqlite3');"
            "c.execute('DELETE FROM customers_customer'); c.commit()"
        )
        process = subprocess.run(
            [sys.executable, "-c", write],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        if protected:
            assert "attempt to write a readonly database" in process.stderr
            assert Path(snapshot).read_bytes() == (filled / "snapshot.sqlite3").read_bytes()
        else:
            assert process.returncode == 0, process.stderr
    finally:
        shutil.rmtree(folder)


def test_a_session_of_a_developer_leaves_all_else_as_it_was(shop):
    names = ["live", "snapshot", "vendor"]
    before = [shop.contents(name) for name in names]
    shop.does(
        "shell",
        "-c",
        "from products.models import Product; from reviews.models import Review;"
        "from listings.models import Listing;"
        "Product.objects.update(price=1); Review.objects.all().delete();"
        "Listing.objects.update(featured=True)",
    )
    shop.does("migrate")
    assert [shop.contents(name) for name in names] == before


@pytest.mark.parametrize("alias", ["production", "vendor"])
def test_no_migration_reaches_it(shop, alias):
    (shop.folder / "reviews/migrations/0002_new.py").write_text(
        "from django.db import migrations, models\n"
        "class Migration(migrations.Migration):\n"
        "    dependencies = [('reviews', '0001_initial')]\n"
        "    operations = [migrations.AddField('review', 'new', models.IntegerField(default=0))]\n"
    )
    database = {"production": "snapshot", "vendor": "vendor"}[alias]
    before = shop.contents(database)
    refused = shop("migrate", f"--database={alias}").stderr
    assert READ_ONLY[connections[alias].vendor] in refused
    assert shop.contents(database) == before
