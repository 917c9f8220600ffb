"""Scatter-gather, held against the same rows in one database."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.conf import settings
from django.core.paginator import Paginator
from django.db import DatabaseError, OperationalError, connections, models
from django.db.models import Avg, Count, F, Max, Min, Q, StdDev, Sum
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from conftest import ALIASES, customer_on
from customers.models import Customer, Order
from sharding import buckets, gather, scatter
from sharding.buckets import forget_map
from sharding.keys import new_key
from sharding.reshard import change_map
from tests.databases import skip_where_engines_differ

pytestmark = pytest.mark.django_db(databases=ALIASES)

ONE = "default"  # for these tests, it has the tables and all rows too
ORDERS = Order.objects.all()
RANK = models.Window(models.functions.RowNumber(), order_by="price")


@pytest.fixture(scope="module", autouse=True)
def one_database(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), connections[ONE].schema_editor() as editor:
        editor.create_model(Customer)
        editor.create_model(Order)
    yield
    with django_db_blocker.unblock(), connections[ONE].schema_editor() as editor:
        editor.delete_model(Order)
        editor.delete_model(Customer)


def put(rows):
    """Put these orders, and nothing else, on their shards, and all in one database too."""
    for alias in ALIASES:
        for model in (Order, Customer):
            models.QuerySet(model, using=alias)._raw_delete(alias)
    customers = {alias: customer_on(alias) for alias in settings.SHARDS}
    orders = [Order(customer=customers[alias], **fields) for alias, fields in rows]
    Order.objects.bulk_create(orders)
    models.QuerySet(Customer, using=ONE).bulk_create(customers.values())
    models.QuerySet(Order, using=ONE).bulk_create(orders)


orders = st.lists(
    st.tuples(
        st.sampled_from(settings.SHARDS),
        st.fixed_dictionaries(
            {
                "product_id": st.integers(1, 3),
                "quantity": st.integers(0, 4),
                "price": st.decimals(0, 5, places=2),
                "created": st.datetimes(
                    datetime(2026, 1, 1), datetime(2026, 1, 2), timezones=st.just(UTC)
                ),
            }
        ),
    ),
    max_size=25,
)
held_against_one_database = examples(
    database=None,
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
filters = st.sampled_from([Q(), Q(product_id=1), Q(quantity__gt=2), Q(quantity__gt=9)])


@held_against_one_database
@given(orders, filters)
def test_count(rows, condition):
    put(rows)
    wanted = ORDERS.using(ONE).filter(condition).count()
    assert gather.count(ORDERS.filter(condition)) == wanted


@held_against_one_database
@given(orders, filters, filters)
def test_aggregates(rows, condition, inner):
    put(rows)
    wanted = {
        "count": Count("pk"),
        "few": Count("pk", filter=inner),
        "sum": Sum("quantity"),
        "or_seven": Sum("quantity", default=7),
        "mean": Avg("quantity"),
        "mean_of_few": Avg("price", filter=inner),
        "mean_or_seven": Avg("quantity", default=7),
        "mean_as_decimal": Avg("quantity", output_field=models.DecimalField()),
        "least": Min("price"),
        "most": Max("price"),
        "first": Min("created"),
        "spent": Sum(F("quantity") * F("price")),
    }
    one = ORDERS.using(ONE).filter(condition).aggregate(**wanted)
    all_ = gather.aggregate(ORDERS.filter(condition), **wanted)
    for name in wanted:
        if isinstance(one[name], float | Decimal):
            # MariaDB rounds a mean to four decimal places more than the values have.
            least = 1e-4 if connections[ONE].vendor == "mysql" else None
            assert float(all_[name]) == pytest.approx(float(one[name]), abs=least)
            assert "or_seven" in name or type(all_[name]) is type(one[name])
        else:
            assert all_[name] == one[name]


def test_a_mean_is_not_the_mean_of_means():
    fields = {"product_id": 1, "price": 1}
    put([("shard0", {**fields, "quantity": 1})] * 3 + [("shard1", {**fields, "quantity": 5})])
    means = gather.each(ORDERS, lambda rows: rows.aggregate(mean=Avg("quantity"))["mean"])
    assert means == {"shard0": 1, "shard1": 5, "shard2": None, "shard3": None}
    assert gather.aggregate(ORDERS, mean=Avg("quantity")) == {"mean": 2}


@held_against_one_database
@given(
    orders,
    filters,
    st.lists(
        st.sampled_from(
            ["quantity", "-price", "-created", "customer__name", F("quantity").desc(),
             F("price") * F("quantity"), "-pk"]
        ),
        max_size=3,
    ),
    st.integers(0, 12),
    st.integers(0, 12),
    st.booleans(),
)  # fmt: skip
def test_top(rows, condition, order, start, more, backwards):
    put(rows)
    order = [gather.by_code_points(ORDERS, by) for by in order]
    wanted = ORDERS.filter(condition).order_by(*order, "pk")
    if backwards:
        wanted = wanted.reverse()
    one = list(wanted.using(ONE)[start : start + more])
    found = gather.top(wanted, start + more, start)
    assert found == one
    assert {row._state.db for row in found} <= set(settings.SHARDS)
    assert not any(name.startswith("_order_") for row in found for name in vars(row))


@pytest.mark.parametrize("rows", [ORDERS.only("product_id"), ORDERS.defer("price")])
def test_top_of_rows_without_the_column_that_sorts_them(rows):
    put(
        [
            (alias, {"product_id": 1, "quantity": 1, "price": n})
            for n, alias in enumerate(ALIASES[1:])
        ]
    )
    wanted = rows.order_by("-price", "pk")
    found = gather.top(wanted, 3)
    assert found == list(wanted.using(ONE)[:3])
    assert not any(
        name == "price" or name.startswith("_order_") for row in found for name in vars(row)
    )


@held_against_one_database
@given(orders, st.integers(1, 9))
def test_pages(rows, size):
    put(rows)
    wanted = ORDERS.order_by("-price", "quantity", "pk")
    pages = Paginator(gather.AllRows(wanted), size)
    found = [list(pages.page(number)) for number in pages.page_range]
    assert all(len(page) == size for page in found[:-1])
    assert [row for page in found for row in page] == list(wanted.using(ONE))


@held_against_one_database
@given(orders, st.data())
def test_in_bulk(rows, data):
    put(rows)
    keys = list(ORDERS.using(ONE).values_list("pk", flat=True))
    some = data.draw(st.lists(st.sampled_from(keys))) if keys else []
    some += [new_key(), -5]
    found = gather.in_bulk(ORDERS, some)
    assert found == ORDERS.using(ONE).in_bulk(some)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("nulls", [{}, {"nulls_first": True}, {"nulls_last": True}])
@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_top_puts_nulls_where_the_database_does(direction, nulls, reverse):
    if not nulls:
        skip_where_engines_differ("where NULLs come without a word about them")
    fields = {"price": 1, "quantity": 1}
    put([(alias, {**fields, "product_id": n}) for alias in settings.SHARDS for n in range(3)])
    expression = models.Case(models.When(product_id__gt=0, then=F("product_id")))  # else null
    wanted = ORDERS.order_by(getattr(expression, direction)(**nulls), "pk")
    wanted = wanted.reverse() if reverse else wanted
    assert gather.top(wanted, 7) == list(wanted.using(ONE)[:7])


@pytest.fixture(params=["postgresql", "mysql"])
def another_engine(request, monkeypatch):
    """Take the shards to be on an engine whose text is sorted by a language."""
    for alias in settings.SHARDS:
        monkeypatch.setattr(connections[alias], "vendor", request.param)
    return request.param


NAMES = Customer.objects.order_by("name")
NOCASE = models.functions.Collate("name", "nocase")


@pytest.mark.parametrize(
    "ask",
    [
        lambda: gather.top(NAMES),
        lambda: gather.top(NAMES.reverse(), 5),
        lambda: gather.top(Customer.objects.order_by(models.functions.Lower("name")), 5),
        lambda: gather.top(ORDERS.order_by("customer__name"), 5),
        lambda: gather.AllRows(NAMES)[0:1],
        lambda: gather.aggregate(NAMES, x=Min("name")),
        lambda: gather.aggregate(NAMES, x=Max(models.functions.Concat("name", "name"))),
    ],
)
def test_text_that_is_sorted_by_a_language_is_refused_unasked(ask, customers, another_engine):
    """Whatever the rows are: Python compares those of two shards, by code points."""
    with pytest.raises(TypeError, match="compare this .* Collate"):
        ask()


@pytest.mark.parametrize(
    "ask",
    [
        lambda: gather.top(Customer.objects.order_by(NOCASE), 5),
        lambda: gather.aggregate(NAMES, x=Max(NOCASE)),
    ],
)
def test_text_under_another_collation_is_refused(ask, customers):
    with pytest.raises(TypeError, match="can't compare this CharField of two shards"):
        ask()


# A language sorts these otherwise, takes some of them for one, and ignores spaces at the end.
TEXTS = [
    "apple",
    "Banana",
    "Émile",
    "emile",
    "ÉMILE",
    "émile",
    "a",
    "a ",
    "a\t",
    "ss",
    "ß",
    "𝄞",
    "ﬀ",
]


def test_text_by_code_points_is_merged_as_this_engine_sorts_it(customers):
    for n, text in enumerate(TEXTS):
        customer_on(f"shard{n % 4}", text)
    wanted = sorted([*TEXTS, *(customer.name for customer in customers)])
    by = gather.by_code_points(NAMES, "name")
    backwards = gather.by_code_points(NAMES, "-name")
    assert [row.name for row in gather.top(NAMES.order_by(by))] == wanted
    assert [row.name for row in gather.top(NAMES.order_by(backwards), 5)] == wanted[:-6:-1]
    exact = getattr(by, "expression", "name")
    ends = gather.aggregate(NAMES, first=Min(exact), last=Max(exact))
    assert ends == {"first": wanted[0], "last": wanted[-1]}


def test_which_text_is_sorted_by_code_points(another_engine):
    collation = gather.CODE_POINTS[another_engine][0]
    named = models.functions.Collate("name", collation)
    for field, alike in ((F("name"), False), (named, True), (models.functions.Lower(named), True),
                         (F("joined"), True), (F("pk"), True)):  # fmt: skip
        assert gather.sorts_alike(field.resolve_expression(NAMES.query.chain())) is alike
    if another_engine == "postgresql":  # of MySQL, the server's version is asked for
        by = gather.by_code_points(NAMES, "-name")
        assert by.descending and by.expression.collation == "C"
    assert gather.by_code_points(NAMES, "-joined") == "-joined"


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: gather.aggregate(ORDERS, x=Count("product_id", distinct=True)), "distinct"),
        (lambda: gather.aggregate(ORDERS, x=StdDev("price")), "StdDev can't be computed"),
        (lambda: gather.aggregate(ORDERS, x=Sum("price", default=F("price"))), "plain value"),
        (lambda: gather.count(ORDERS.values("product_id").distinct()), "combine values"),
        (lambda: gather.count(ORDERS[:5]), "combine slices"),
        (lambda: gather.top(ORDERS.order_by("?"), 5), "order by '\\?'"),
        (lambda: gather.count(ORDERS.distinct("price")), "combine distinct"),
        (lambda: gather.top(ORDERS.annotate(x=RANK)), "combine a Window"),
        (lambda: gather.top(ORDERS.order_by(RANK)), "combine a Window"),
        (lambda: gather.count(ORDERS.annotate(x=RANK).filter(x=1)), "combine a Window"),
        (
            lambda: gather.aggregate(ORDERS, x=Count("pk") + 1),
            "CombinedExpression can't be computed",
        ),
    ],
)
def test_what_can_not_be_combined_is_refused(ask, message):
    with pytest.raises(TypeError, match=message):
        ask()


def test_a_queryset_of_one_shard_is_refused():
    with pytest.raises(ValueError, match=r'Remove using\("shard1"\)'):
        gather.count(ORDERS.using("shard1"))


# A shard that is down


@pytest.fixture
def shard2_is_down(customers):
    def refuse(execute, sql, params, many, context):
        raise OperationalError("connection refused")

    with connections["shard2"].execute_wrapper(refuse):
        yield customers


def test_a_shard_that_is_down_is_an_error_that_names_it(shard2_is_down):
    for ask in (
        lambda: gather.count(Customer.objects.all()),
        lambda: gather.top(Customer.objects.all(), 5),
        lambda: gather.aggregate(Customer.objects.all(), n=Count("pk")),
        lambda: Customer.objects.in_bulk([c.pk for c in shard2_is_down]),
    ):
        with pytest.raises(
            gather.ShardDown, match="shard2 is unavailable: connection refused"
        ) as e:
            ask()
        assert list(e.value.errors) == ["shard2"]


@pytest.mark.parametrize("partial", [True, False])
def test_an_error_of_a_statement_is_not_a_shard_that_is_down(customers, partial):
    with pytest.raises(DatabaseError, match=r"(?i)function.* \S*gone"):
        gather.count(Customer.objects.extra(where=["gone(1)"]), partial=partial)


@pytest.mark.parametrize(
    ("cause", "args", "away"),
    [
        ({"sqlstate": "57014"}, (), False),  # canceled, by statement_timeout
        ({"sqlstate": "57P01"}, (), True),  # the server is shut down
        ({"sqlstate": "53300"}, (), True),  # too many connections
        ({"pgcode": "42501"}, (), False),  # permission denied
        ({"sqlstate": None}, ("connection refused",), True),
        ({}, (1205, "Lock wait timeout exceeded"), False),
        ({}, (2006, "Server has gone away"), True),
        ({}, (1049, "Unknown database"), True),
        ({"sqlite_errorcode": 5}, (), False),  # busy
        ({"sqlite_errorcode": 14}, (), True),  # can't be opened
        ({"sqlite_errorcode": 522}, (), True),  # an error of the disk: a short read
    ],
)
def test_which_errors_are_those_of_a_shard_that_is_down(cause, args, away):
    error = OperationalError(*args)
    error.__cause__ = type("DriversError", (Exception,), cause)()
    assert scatter.is_away(error) is away


def test_a_partial_answer_says_that_it_is_partial(shard2_is_down):
    rows = Customer.objects.order_by("pk")
    there = [c for c in shard2_is_down if c.shard != "shard2"]
    for answer, wanted in (
        (gather.count(rows, partial=True), 3),
        (gather.top(rows, 5, partial=True), there),
        (gather.aggregate(rows, n=Count("pk"), partial=True), {"n": 3}),
        (
            gather.in_bulk(rows, [c.pk for c in shard2_is_down], partial=True),
            {c.pk: c for c in there},
        ),
    ):
        assert answer.value == wanted
        assert list(answer.missing) == ["shard2"]
    pages = gather.AllRows(rows, partial=True)
    assert pages[0:2] == there[:2] and list(pages.missing) == ["shard2"]


def test_a_whole_answer_says_so_too(customers):
    assert gather.count(Customer.objects.all(), partial=True) == (4, {})


# A bucket on the move


def test_rows_that_are_being_copied_do_not_count(customers):
    first = customers[0]
    models.QuerySet(Customer, using="shard3").bulk_create([first])
    assert gather.count(Customer.objects.all()) == 5  # as if nobody had said that it moves
    change_map([first.bucket], uncounted_on="shard3", placement=True)
    forget_map()
    rows = Customer.objects.order_by("pk")
    assert gather.count(rows) == 4 and gather.top(rows) == customers
    # The switch. A process that read the map before may still use it for LEASE seconds.
    buckets.shard_map()
    buckets.Bucket.objects.filter(pk=first.bucket).update(alias="shard3", uncounted_on="shard0")
    assert [c._state.db for c in gather.top(rows)] == ["shard3", "shard1", "shard2", "shard3"]


def test_a_gather_that_takes_long_is_done_again_when_rows_have_moved_meanwhile(
    customers, monkeypatch
):
    monkeypatch.setattr(buckets, "LEASE", 0)
    forget_map()
    asked = []

    def count(rows):
        if not asked:
            change_map([], placement=True)
        asked.append(rows.db)
        return rows.count()

    assert sum(gather.each(Customer.objects.all(), count).values()) == 4
    assert asked == settings.SHARDS * 2
