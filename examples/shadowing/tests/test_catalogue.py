"""The supplier's articles with our listings, against a JOIN that SQLite makes of the same rows."""

import sqlite3
from contextlib import closing
from itertools import product

import pytest
from django.core.paginator import Paginator
from django.db import connections
from django.db.models import Q

from listings.catalogue import Catalogue, attach_listings, vanished_listings
from listings.models import Listing
from tests.marks import files
from vendor.models import Article

pytestmark = pytest.mark.django_db(databases=["default", "production", "vendor"])

# A condition as the ORM has it, and as SQL has it.
THEIRS = [
    (Q(), "1"),
    (Q(stock__gt=60), "a.LAGER > 60"),
    (Q(name__contains="Oil"), "a.BEZ1 LIKE '%Oil%'"),
]
OURS = [
    (Q(), "1"),
    (Q(featured=True), "l.featured"),
    (Q(featured=False), "NOT l.featured"),
    (Q(price__lt=30), "CAST(l.price AS REAL) < 30"),
]
ORDERS = [
    ("number", "a.ARTNR"),
    ("-cents", "a.EKPREIS DESC, a.ARTNR"),
    ("listing__price", "l.price IS NULL, CAST(l.price AS REAL), a.ARTNR"),
    ("-listing__price", "l.price IS NULL, CAST(l.price AS REAL) DESC, a.ARTNR"),
    ("listing__featured", "l.featured IS NULL, l.featured, a.ARTNR"),
]


@pytest.fixture
def odd_rows():
    """A listing without a price, and one of an article that there isn't."""
    Listing.objects.filter(pk=3).update(price=None)
    Listing.objects.create(article_number="X0000001", price=1, featured=True)


@pytest.fixture
def joined(odd_rows):
    """Run a SELECT on the two sides as tables ``a`` and ``l`` of one database."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE TBL_ARTIKEL (ARTNR, BEZ1, WGR, EKPREIS, LAGER)")
        rows = Article.objects.values_list("number", "name", "group", "cents", "stock")
        connection.executemany("INSERT INTO TBL_ARTIKEL VALUES (?, ?, ?, ?, ?)", rows)
        connection.execute("CREATE TABLE l (article_number, price, featured)")
        rows = Listing.objects.values_list("article_number", "price", "featured")
        values = [(n, None if price is None else float(price), f) for n, price, f in rows]
        connection.executemany("INSERT INTO l VALUES (?, ?, ?)", values)

        def run(theirs, ours, order):
            sql = (
                "SELECT a.ARTNR FROM TBL_ARTIKEL a LEFT JOIN l ON l.article_number = a.ARTNR "
                f"WHERE {theirs} AND {ours} ORDER BY {order}"
            )
            return [number for (number,) in connection.execute(sql)]

        yield run


@pytest.mark.parametrize("order", ORDERS, ids=[order for order, _ in ORDERS])
def test_it_answers_as_a_join_does(joined, order):
    found = set()
    for (theirs, their_sql), (ours, our_sql) in product(THEIRS, OURS):
        expected = joined(their_sql, our_sql, order[1])
        pages = Paginator(Catalogue(theirs, ours, order[0]), 7)
        assert pages.count == len(expected)
        assert [a.number for page in pages for a in page] == expected
        found.add(len(expected))
    assert len(found) > 8  # the conditions do leave something out


@pytest.mark.parametrize("size", [3, 60])
@pytest.mark.parametrize(
    ("options", "vendor", "default"),
    [
        ({}, 2, 1),
        ({"theirs": Q(stock__gt=1)}, 2, 1),
        ({"ours": Q(featured=False)}, 2, 2),
        ({"order_by": "listing__price"}, 3, 2),
        ({"ours": Q(featured=False), "order_by": "-listing__price"}, 3, 3),
    ],
)
def test_queries_of_a_page(django_assert_num_queries, options, vendor, default, size):
    with (
        django_assert_num_queries(vendor, connection=connections["vendor"]),
        django_assert_num_queries(default, connection=connections["default"]),
    ):
        page = Paginator(Catalogue(**options), size).get_page(1)
        assert page.paginator.count > 30
        assert [str(article.group) + str(article.listing) for article in page]


def test_a_listing_is_beside_its_article():
    listing = Listing.objects.first()
    (article,) = attach_listings([Article.objects.get(pk=listing.article_number)])
    assert article.listing == listing


def test_an_article_that_we_do_not_list():
    listed = list(Listing.objects.values_list("article_number", flat=True))
    (article,) = attach_listings([Article.objects.exclude(pk__in=listed).first()])
    assert article.listing is None


def test_a_listing_whose_article_vanished(odd_rows):
    assert [listing.article_number for listing in vanished_listings()] == ["X0000001"]


def test_a_subquery_across_the_two_is_refused():
    with pytest.raises(ValueError, match="Subqueries aren't allowed across different databases"):
        list(Article.objects.filter(pk__in=Listing.objects.using("default").values("pk")))


def test_the_suppliers_next_edition(shop):
    """Other articles are left out: what we list of them has vanished, and the rest goes on."""
    script = (
        "from listings.catalogue import Catalogue, vanished_listings;"
        "print(Catalogue().count(), [v.article_number for v in vanished_listings()])"
    )
    assert shop.does("shell", "-v0", "-c", script).splitlines()[-1] == "117 []"
    shop.does("vendor_catalogue", "--articles=120", "--edition=5")
    after = shop.does("shell", "-v0", "-c", script).splitlines()[-1]
    assert after.startswith("117 ['A00000")


@pytest.mark.parametrize("value", ["0", "-1", "many", "10000000"])
def test_a_wrong_number_of_articles(empty_shop, value):
    process = empty_shop("vendor_catalogue", f"--articles={value}")
    assert process.returncode == 1
    assert process.stderr == (
        f"CommandError: --articles must be a whole number from 1 to 9999999, not {value!r}.\n"
    )


@files
def test_a_catalogue_that_can_not_be_written(empty_shop):
    (empty_shop.folder / "vendor.sqlite3").mkdir()
    process = empty_shop("vendor_catalogue")
    assert (process.returncode, process.stderr) == (
        1,
        f"CommandError: {empty_shop.folder / 'vendor.sqlite3'}: unable to open database file.\n",
    )
