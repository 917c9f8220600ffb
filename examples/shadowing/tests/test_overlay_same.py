"""An overlaid table behaves like a plain table: random operations, the same on both.

The plain tables are in a writable copy of the snapshot. They get the same keys as the overlay, so
that the test can compare all rows as they are.
"""

import hashlib
import os
import shutil
import sqlite3
from contextlib import closing

import pytest
from django.db import IntegrityError, connections, transaction
from django.db.models import (
    Avg,
    Count,
    Exists,
    F,
    Max,
    Min,
    OuterRef,
    Prefetch,
    ProtectedError,
    Q,
    Sum,
    Window,
)
from django.db.models.functions import RowNumber
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from overlay.rows import discard, overlaid_models
from overlay.tables import LAST_SNAPSHOT_KEY
from products.models import Category, Product
from tests import marks

pytestmark = marks.rows

BOTH = ["default", "plain"]
LONG = "STRESS" in os.environ


@pytest.fixture
def files(filled, tmp_path, monkeypatch, django_db_blocker):
    """Open an overlay, and beside it the plain tables, in files of this test's own."""
    for name in "snapshot.sqlite3", "local.sqlite3":
        shutil.copy(filled / name, tmp_path)
    names = {
        "default": tmp_path / "local.sqlite3",
        "production": f"{(tmp_path / 'snapshot.sqlite3').as_uri()}?mode=ro",
        "plain": tmp_path / "plain.sqlite3",
    }
    monkeypatch.setitem(connections.settings, "plain", connections.settings["production"].copy())
    with django_db_blocker.unblock():
        for alias, name in names.items():
            monkeypatch.setitem(connections.settings[alias], "NAME", name)
            # Nothing here has to outlive a power cut.
            options = connections.settings[alias]["OPTIONS"]
            # And an overlay keeps no foreign keys: what it refers to may be in the snapshot.
            off = "PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF"
            fast = options | {"init_command": off}
            monkeypatch.setitem(connections.settings[alias], "OPTIONS", fast)
            monkeypatch.setattr(connections[alias], "connection", None)
        yield tmp_path
        for alias in names:
            connections[alias].close()
        del connections["plain"]


def digest(folder):
    return hashlib.sha256((folder / "snapshot.sqlite3").read_bytes()).hexdigest()


def rows(queryset):
    return list(queryset.values_list())


QUERIES = {
    "all": lambda c, p: rows(p.order_by("pk")) + rows(c.order_by("pk")),
    "order": lambda c, p: rows(p.order_by("-price", "name", "pk")),
    "slice": lambda c, p: rows(p.order_by("price", "pk")[3:12]),
    "backwards": lambda c, p: rows(p.order_by("pk").reverse()[:5]),
    "first and last": lambda c, p: [str(p.first()), str(p.last()), str(c.order_by("name").last())],
    "count": lambda c, p: [p.count(), c.count(), p.filter(price__gt=4).count()],
    "filtered count": lambda c, p: [
        p.filter(Q(code="new 1") | Q(price=2)).exclude(name="a ? 'b").count(),
        p.filter(category__in=c.filter(name__contains="clock"), price__lt=5).count(),
        p.filter(Exists(p.filter(price__gt=OuterRef("price")))).count(),
        p.filter(category__name="new 2").count(),
        p.none().count(),
    ],
    "count of a slice": lambda c, p: p.order_by("pk")[2:30].count(),
    "aggregate": lambda c, p: p.aggregate(
        Sum("price"), Avg("price"), Min("code"), Max("price"), Count("pk"), n=Count("*")
    ),
    "filtered aggregate": lambda c, p: p.filter(category__gt=2).aggregate(
        Sum("price"),
        many=Count("pk", filter=Q(price__gte=3)),
        kinds=Count("category", distinct=True),
    ),
    "aggregate of a join": lambda c, p: c.aggregate(Sum("products__price"), Count("products")),
    "aggregate of a subquery": lambda c, p: (
        p.values("category").annotate(n=Count("pk")).aggregate(Max("n"))
    ),
    "group": lambda c, p: list(
        p.values("category__name")
        .annotate(n=Count("pk"), s=Sum("price"))
        .order_by("category__name")
    ),
    "having": lambda c, p: list(
        c.annotate(n=Count("products")).filter(n__lt=4).order_by("pk").values("pk", "n")
    ),
    "inner join": lambda c, p: [
        (one.pk, one.category.name) for one in p.select_related("category").order_by("code")[:9]
    ],
    "filter over a join": lambda c, p: rows(p.filter(category__name__lt="m").order_by("pk")),
    "outer join": lambda c, p: rows(c.filter(products=None).order_by("pk")),
    "related": lambda c, p: [
        [one.code for one in each.products.using(c.db).order_by("code")]
        for each in c.order_by("pk")[:3]
    ],
    "prefetch": lambda c, p: [
        sorted(one.code for one in each.products.all())
        for each in c.order_by("pk").prefetch_related(Prefetch("products", p))
    ],
    "exists": lambda c, p: [p.filter(code="new 1").exists(), c.filter(name="new 1").exists()],
    "Exists()": lambda c, p: rows(
        c.filter(Exists(p.filter(category=OuterRef("pk"), price__gt=3))).order_by("pk")
    ),
    "subquery": lambda c, p: rows(
        p.filter(category__in=c.filter(name__contains="clock")).order_by("pk")
    ),
    "exclude": lambda c, p: rows(p.exclude(category__name="new 2").order_by("pk")),
    "in_bulk": lambda c, p: {
        k: v.code for k, v in p.in_bulk([1, 5, LAST_SNAPSHOT_KEY + 1]).items()
    },
    "in_bulk by code": lambda c, p: sorted(p.in_bulk(["new 1", "new 2"], field_name="code")),
    "iterator": lambda c, p: [one.pk for one in p.order_by("pk").iterator(chunk_size=3)],
    "distinct": lambda c, p: list(p.order_by("price").values_list("price", flat=True).distinct()),
    "union": lambda c, p: sorted(
        p.filter(pk__lt=5).values_list("pk").union(p.filter(price=2).values_list("pk"))
    ),
    "window": lambda c, p: list(
        p.annotate(n=Window(RowNumber(), order_by=["price", "pk"])).order_by("pk").values("pk", "n")
    ),
    "raw": lambda c, p: [
        one.pk for one in p.raw("SELECT * FROM products_product WHERE price > 3 ORDER BY id")
    ],
    "like": lambda c, p: rows(p.filter(name__icontains="CLOCK").order_by("pk")),
    "defer": lambda c, p: [(one.code, one.price) for one in p.order_by("pk").only("code")[:4]],
}

texts = st.sampled_from(["new 1", "new 2", "new 3", "new 4"])
# They are exact in binary, so that no sum depends on the order.
prices = st.integers(0, 24).map(lambda n: n / 4)
keys = st.integers(1, 12) | st.integers(1, 6).map(lambda n: LAST_SNAPSHOT_KEY + n)
categories = st.integers(1, 4) | st.integers(1, 2).map(lambda n: LAST_SNAPSHOT_KEY + n)


class Same(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.blocks = []
        for model in overlaid_models():
            discard(model)
        with closing(sqlite3.connect(self.folder / "snapshot.sqlite3")) as snapshot:
            connections["plain"].ensure_connection()
            snapshot.backup(connections["plain"].connection)
        for alias, prefix in ("default", "overlay_"), ("plain", ""):
            with connections[alias].cursor() as cursor:
                # Whole tables that are local are no part of this.
                cursor.execute("DELETE FROM reviews_review")
                for model in Category, Product:
                    table = prefix + model._meta.db_table
                    cursor.execute("DELETE FROM sqlite_sequence WHERE name = %s", [table])
                    cursor.execute(
                        "INSERT INTO sqlite_sequence VALUES (%s, %s)", [table, LAST_SNAPSHOT_KEY]
                    )

    def both(self, operation):
        """Do it on the overlay and on the plain tables: the same is to come of it."""
        outcomes = []
        for alias in BOTH:
            try:
                with transaction.atomic(alias):
                    outcome = operation(Category.objects.using(alias), Product.objects.using(alias))
            except ProtectedError as error:  # an IntegrityError, whose text has a set's order
                outcome = sorted(one.pk for one in error.protected_objects)
            except (IntegrityError, Category.DoesNotExist, Product.DoesNotExist) as error:
                outcome = repr(error)
            outcomes.append(outcome)
        assert outcomes[0] == outcomes[1]

    @rule(name=st.sampled_from(sorted(QUERIES)))
    def ask(self, name):
        self.both(QUERIES[name])

    @rule(name=texts)
    def create_category(self, name):
        self.both(lambda c, p: c.create(name=name).pk)

    @rule(code=texts, category=categories, price=prices)
    def create(self, code, category, price):
        self.both(lambda c, p: p.create(code=code, category_id=category, price=price).pk)

    @rule(key=keys, code=texts, price=prices)
    def create_with_key(self, key, code, price):
        self.both(lambda c, p: p.create(pk=key, code=code, category_id=1, price=price).pk)

    @rule(names=st.lists(texts, max_size=3))
    def bulk_create(self, names):
        self.both(lambda c, p: [one.pk for one in c.bulk_create([Category(name=n) for n in names])])

    @rule(key=keys, price=prices, code=texts)
    def save(self, key, price, code):
        def save(c, p):
            one = p.get(pk=key)
            one.price, one.code = price, code
            one.save(using=p.db)
            one.name = "renamed"
            one.save(using=p.db, update_fields=["name"])

        self.both(save)

    @rule(key=keys, price=prices)
    def update(self, key, price):
        self.both(lambda c, p: p.filter(pk=key).update(price=price))

    @rule(price=prices)
    def update_many(self, price):
        self.both(
            lambda c, p: p.filter(price__lt=price).update(price=F("price") + 1, name=F("code"))
        )

    @rule(key=keys, category=categories)
    def update_over_a_join(self, key, category):
        self.both(lambda c, p: p.filter(category__name__startswith="new").update(category=category))

    @rule(key=keys)
    def update_to_null(self, key):
        self.both(lambda c, p: p.filter(pk=key).update(name=None))

    @rule(some=st.lists(keys, unique=True), price=prices)
    def bulk_update(self, some, price):
        def bulk_update(c, p):
            found = list(p.filter(pk__in=some).order_by("pk"))
            for n, one in enumerate(found):
                one.price = price + n
            return p.bulk_update(found, ["price"])

        self.both(bulk_update)

    @rule(name=texts)
    def get_or_create(self, name):
        self.both(lambda c, p: [(one.pk, new) for one, new in [c.get_or_create(name=name)]])

    @rule(code=texts, price=prices)
    def update_or_create(self, code, price):
        def update_or_create(c, p):
            defaults = {"price": price, "category_id": 1}
            one, new = p.update_or_create(code=code, defaults=defaults)
            return one.pk, new

        self.both(update_or_create)

    @rule(key=keys)
    def delete(self, key):
        self.both(lambda c, p: p.get(pk=key).delete(using=p.db))

    @rule(price=prices)
    def delete_many(self, price):
        self.both(lambda c, p: p.filter(price=price).delete())

    @rule(key=categories)
    def delete_category(self, key):
        self.both(lambda c, p: c.filter(pk=key).delete())

    @precondition(lambda self: len(self.blocks) < 3)
    @rule()
    def begin(self):
        self.blocks.append([transaction.atomic(alias) for alias in BOTH])
        for block in self.blocks[-1]:
            block.__enter__()

    @precondition(lambda self: self.blocks)
    @rule(rolled_back=st.booleans())
    def end(self, rolled_back):
        for alias, block in zip(BOTH, self.blocks.pop(), strict=True):
            if rolled_back:
                transaction.set_rollback(True, alias)
            block.__exit__(None, None, None)

    def teardown(self):
        while self.blocks:
            self.end(rolled_back=False)
        self.ask("all")


def test_the_same_comes_of_the_same(files):
    before = digest(files)
    Same.folder = files
    run_state_machine_as_test(
        Same,
        settings=settings(
            max_examples=1000 if LONG else 25,
            stateful_step_count=50 if LONG else 25,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert digest(files) == before


@pytest.mark.parametrize("name", QUERIES)
def test_each_query_over_all_kinds_of_rows(files, name):
    Same.folder = files
    both = Same()
    both.create_category("new 2")
    both.create("new 1", LAST_SNAPSHOT_KEY + 1, 2.0)
    both.create("new 2", 1, 5.5)
    both.update(5, 2.0)
    both.delete(7)
    both.ask(name)
