"""``multidb_checks.watching``: a transaction that writes to two databases is found, no other is."""

import inspect
import re
import threading
import warnings
from contextlib import ExitStack, contextmanager

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.handlers.base import BaseHandler
from django.db import DatabaseError, IntegrityError, connection, connections, transaction
from django.db.backends.signals import connection_created
from django.db.models.signals import post_delete
from django.db.transaction import Atomic
from django.http import HttpResponse
from django.test import RequestFactory
from django.utils.decorators import method_decorator
from django.views import View

from multidb_checks import watching
from multidb_checks.watching import TwoDatabasesWarning
from products.models import Product
from reviews.models import Review

BOTH = ["default", "reviews"]
pytestmark = pytest.mark.django_db(databases=BOTH)


@pytest.fixture(autouse=True, scope="module")  # starts before the blocks of each test
def started():
    watching.start()
    yield
    watching.stop()


def write_default():
    return Product.objects.create(name="Sundial", description="", price=9)


def write_reviews():
    return Review.objects.create(product_id=1, author_id=1, rating=5, text="Ticks.")


@contextmanager
def findings():
    """Give a list. At the end it has the text of each warning."""
    texts = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
    assert all(item.category is TwoDatabasesWarning for item in caught)
    texts += [str(item.message) for item in caught]


def line_of(text, function):
    """Return "file:line" of the first line of a function of this file that has the text."""
    lines, start = inspect.getsourcelines(function)
    number = next(number for number, line in enumerate(lines, start) if text in line)
    return f"test_watching.py:{number}"


# What is found


def test_the_second_alias_in_autocommit():
    with findings() as found, transaction.atomic():
        write_default()
        write_reviews()
    (text,) = found
    here = line_of("transaction.atomic()", test_the_second_alias_in_autocommit)
    assert text == (
        f"atomic() on default ({here}) wrote to 2 databases, which do not commit together: "
        f"default (products_product, {line_of('create', write_default)}) and reviews "
        f"(reviews_review, {line_of('create', write_reviews)}, outside of any atomic() on reviews)."
    )


def test_two_blocks_have_one_warning_at_the_outermost():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with transaction.atomic(using="reviews"):  # outer
            write_reviews()
            with transaction.atomic(using="default"):  # inner
                write_default()
    (warning,) = caught
    outer, inner = (
        line_of(f"# {which}", test_two_blocks_have_one_warning_at_the_outermost)
        for which in ("outer", "inner")
    )
    assert (warning.filename, f"test_watching.py:{warning.lineno}") == (__file__, outer)
    assert str(warning.message).startswith(
        f"atomic() on reviews ({outer}) and default ({inner}) wrote to 2 databases"
    )
    assert "outside" not in str(warning.message)


@pytest.mark.parametrize("order", [BOTH, BOTH[::-1]])
def test_two_blocks_in_one_line(order):
    first, second = order
    with findings() as found, transaction.atomic(first), transaction.atomic(second):
        write_default()
        write_reviews()
    (text,) = found
    assert re.match(rf"atomic\(\) on {first} \(.*\) and {second} \(.*\) wrote to 2 data", text)


def test_two_blocks_inside_a_third_that_writes_nothing(monkeypatch):
    alias_of_a_copy(monkeypatch, "third", NAME="third")
    with findings() as found:
        # The outermost block is on an alias of its own, so the database is not connected.
        monkeypatch.setattr(connections["third"], "in_atomic_block", True)
        with transaction.atomic("third", savepoint=False):
            with transaction.atomic("default"):
                write_default()
            with transaction.atomic("reviews"):
                write_reviews()
    assert len(found) == 1 and "third (" in found[0] and "wrote to 2 databases" in found[0]


def test_the_block_on_the_wrong_alias():
    with findings() as found, transaction.atomic():
        write_reviews()
    (text,) = found
    here = line_of("transaction.atomic()", test_the_block_on_the_wrong_alias)
    assert text == (
        f"atomic() on default ({here}) did not write to default. It wrote to reviews "
        f"(reviews_review, {line_of('create', write_reviews)}), "
        'which needs its own atomic(using="reviews").'
    )


def test_a_block_of_the_orm_is_not_a_block_of_the_project():
    def get_or_create():
        Review.objects.get_or_create(product_id=2, author_id=1, defaults={"rating": 5, "text": "-"})

    with findings() as found, transaction.atomic():
        get_or_create()  # opens atomic() on reviews
    assert len(found) == 1
    assert re.match(r"atomic\(\) on default \(\S+\) did not write to default", found[0])
    with findings() as found:
        get_or_create()
        Review.objects.bulk_create([Review(product_id=3, author_id=1, rating=1, text="-")])
    assert found == []


def test_a_receiver_that_writes_elsewhere_inside_a_delete(author, review):
    def receive(**kwargs):
        Review.objects.filter(author_id=author.pk).update(rating=1)

    post_delete.connect(receive, sender=User)
    try:
        with findings() as found:
            User.objects.filter(pk=author.pk).delete()
    finally:
        post_delete.disconnect(receive, sender=User)
    assert len(found) == 1 and "reviews (reviews_review" in found[0]
    assert line_of(".delete()", test_a_receiver_that_writes_elsewhere_inside_a_delete) in found[0]


def test_a_decorated_function_that_calls_itself():
    @transaction.atomic
    def write(depth):
        write_default()
        if depth:
            write(depth - 1)
        else:
            write_reviews()

    for _ in range(2):
        with findings() as found:
            write(2)
        assert len(found) == 1
        here = line_of("@transaction.atomic", test_a_decorated_function_that_calls_itself)
        assert found[0].startswith(f"atomic() on default ({here}) wrote to 2 databases")
    assert watching.watched.open == []


def test_a_decorated_method():
    class Service:
        @method_decorator(transaction.atomic)
        def write(self):
            write_default(), write_reviews()

    with findings() as found:
        Service().write()
    assert line_of("@method_decorator", test_a_decorated_method) in found[0]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO {r} ({columns}) VALUES (1, 1, 1, 'a', '2026-01-01')",
        "update {r} set rating = 2",
        "DELETE FROM {r}",
        "-- SELECT\n /* a comment */ DELETE FROM {r} WHERE text = 'update'",
    ],
)
def test_raw_sql(sql):
    columns = "product_id, author_id, rating, text, created"
    quote = connections["reviews"].ops.quote_name
    with findings() as found, transaction.atomic(), connections["reviews"].cursor() as cursor:
        cursor.execute(sql.format(r=quote("reviews_review"), columns=columns))
    assert len(found) == 1 and "It wrote to reviews (reviews_review, test_watching.py" in found[0]


def test_executemany():
    with findings() as found, transaction.atomic(), connections["reviews"].cursor() as cursor:
        cursor.executemany("DELETE FROM reviews_review WHERE rating = %s", [(1,), (2,)])
    assert len(found) == 1


def test_sql_composed_by_psycopg():
    if connections["reviews"].vendor != "postgresql":
        pytest.skip("psycopg is the driver of PostgreSQL")
    from psycopg import sql

    statement = sql.SQL("DELETE FROM {}").format(sql.Identifier("reviews_review"))
    for query in (statement, b"DELETE FROM reviews_review"):
        with findings() as found, transaction.atomic(), connections["reviews"].cursor() as cursor:
            cursor.execute(query)
        assert len(found) == 1 and "(reviews_review, " in found[0]


@pytest.mark.parametrize(
    ("sql", "table"),
    [
        ('INSERT INTO "t" ("a") VALUES (%s)', "t"),
        ("INSERT OR IGNORE INTO t(a) SELECT 1", "t"),
        ("INSERT IGNORE INTO `t` VALUES (1)", "t"),
        ("REPLACE INTO t VALUES (1)", "t"),
        ('UPDATE "t" SET "a" = 1', "t"),
        ('DELETE FROM "s"."t"', "s.t"),
        ("DELETE `t` FROM `t` INNER JOIN `u`", "t"),
        ("MERGE INTO t USING u ON true WHEN MATCHED THEN DO NOTHING", "t"),
        ('TRUNCATE "t", "u";', "t"),
        ("TRUNCATE TABLE t", "t"),
        ("COPY t (a, b) FROM STDIN", "t"),
        ("COPY t FROM '/a'", "t"),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", "t"),
        ("WITH x AS MATERIALIZED (DELETE FROM t RETURNING *) SELECT * FROM x", "t"),
        ("SELECT 1; DELETE FROM t", "t"),
        ("  /* by a tool */ -- DELETE FROM u\n update t set a = 1", "t"),
        ("SELECT * FROM t FOR UPDATE", None),
        ("SELECT * FROM t FOR NO KEY UPDATE OF t", None),
        ("WITH x AS (SELECT * FROM t FOR UPDATE) SELECT 1", None),
        ("SELECT (REPLACE(a, 'b', 'c')), (TRUNCATE(a, 2)) FROM t", None),
        ("SELECT 'a; DELETE FROM t', '(it''s; DELETE FROM t'", None),
        ("SELECT 1 -- ; DELETE FROM t", None),
        ("SELECT deleted, updated FROM inserted", None),
        ("COPY t TO STDOUT", None),
        ("COPY (SELECT 1) TO STDOUT", None),
        ('SAVEPOINT "s1"', None),
        ("CREATE TABLE t (a integer)", None),
    ],
)
def test_the_table_of_a_statement(sql, table):
    assert watching.table_of(sql) == table


# Requests


@pytest.fixture
def atomic_requests(monkeypatch):
    """A function that sends a view through Django's handler, with ATOMIC_REQUESTS on aliases."""

    def send(view, *aliases):
        for alias in aliases:
            monkeypatch.setitem(settings.DATABASES[alias], "ATOMIC_REQUESTS", True)
        with findings() as found:
            BaseHandler().make_view_atomic(view)(RequestFactory().get("/"))
        return found

    return send


def view(request):
    write_default()
    write_reviews()


class ClassView(View):
    def get(self, request):
        view(request)
        return HttpResponse()


def test_a_view_with_atomic_requests_on_one_alias(atomic_requests):
    (text,) = atomic_requests(view, "default")
    assert text.startswith(f"atomic() on default ({line_of('def view', view)}) wrote to 2 ")
    assert text.endswith(", outside of any atomic() on reviews).")


def test_a_view_with_atomic_requests_on_both_aliases(atomic_requests):
    (text,) = atomic_requests(view, *BOTH)
    place = line_of("def view", view)
    assert text.startswith(f"atomic() on reviews ({place}) and default ({place}) wrote to 2 data")
    assert "outside" not in text


def test_a_class_based_view(atomic_requests):
    (text,) = atomic_requests(ClassView.as_view(), "default")
    assert line_of("class ClassView", ClassView) in text
    (text,) = atomic_requests(type("Made", (ClassView,), {}).as_view(), "default")
    assert "test_watching.py:1)" in text


@pytest.mark.parametrize("write", [write_default, write_reviews])
def test_a_view_that_writes_to_one_alias_with_atomic_requests_on_both(atomic_requests, write):
    assert atomic_requests(lambda request: write(), *BOTH) == []


def test_a_view_with_its_own_block_inside_atomic_requests(atomic_requests):
    own = transaction.atomic(using="reviews")(lambda request: write_reviews())
    assert atomic_requests(own, "default") == []


def test_the_admin_logs_in_another_database(admin_client, product, author):
    data = {"product_id": product.pk, "author_id": author.pk, "rating": 3, "text": "Late."}
    with findings() as found:
        assert admin_client.post("/admin/reviews/review/add/", data).status_code == 302
    (text,) = found
    # The middleware of the project is a caller too, but it does not open the block.
    assert re.match(r"atomic\(\) on reviews \(django/contrib/admin/options\.py:\d+\) wrote", text)
    assert "django_admin_log, django/contrib/admin/models.py:" in text


# What is not found


def test_one_alias():
    with findings() as found:
        with transaction.atomic():
            write_default(), write_default()
        with transaction.atomic("reviews"), transaction.atomic("reviews"):
            write_reviews()
    assert found == []


def test_one_block_after_the_other():
    with findings() as found:
        with transaction.atomic("reviews"):
            write_reviews()
        with transaction.atomic("default"):
            write_default()
    assert found == []


def test_no_block_but_that_of_the_test():
    assert all(connections[alias].in_atomic_block for alias in BOTH)
    with findings() as found:
        write_default()
        write_reviews()
    assert found == []


def test_reads_and_locks_on_the_second_alias(review):
    with findings() as found, transaction.atomic("default"), transaction.atomic("reviews"):
        write_default()
        assert Review.objects.select_for_update().get() == review
    assert found == []


def test_an_inner_block_on_the_right_alias():
    with findings() as found, transaction.atomic(), transaction.atomic("reviews"):
        write_reviews()
    assert found == []


def test_a_statement_that_fails():
    with findings() as found, transaction.atomic():
        write_default()
        with pytest.raises(IntegrityError), transaction.atomic("reviews"):
            Review.objects.create(product_id=1, author_id=1, rating=9, text="Out of range.")
    assert found == []


def delete_from(alias):
    """Note a statement that is not sent: another thread cannot see the database of this test."""
    context = {"connection": connections[alias], "cursor": None}
    watching.note(lambda *args: None, "DELETE FROM t", (), False, context)


def in_a_thread(function):
    """Return the findings of another thread."""
    texts = []

    def run():
        try:
            with findings() as found:
                function()
            texts.extend(found)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return texts


def test_each_thread_has_its_own_blocks():
    def one():
        with transaction.atomic("reviews"):
            delete_from("reviews")

    def both():
        with transaction.atomic("reviews"):
            delete_from("reviews")
            delete_from("default")

    with findings() as found, transaction.atomic():
        write_default()
        assert in_a_thread(one) == []
        (text,) = in_a_thread(both)
    assert found == [] and text.startswith("atomic() on reviews (")


# Two aliases of one database


def alias_of_a_copy(monkeypatch, alias, **changes):
    entry = connections.settings["default"]
    monkeypatch.setitem(connections.settings, alias, entry | changes)
    connection = connections.create_connection(alias)
    monkeypatch.setattr(connections._connections, alias, connection, raising=False)


@pytest.mark.parametrize(
    "changes", [{}, {"NAME": "elsewhere", "TEST": {"MIRROR": "default"}}], ids=["same", "mirror"]
)
def test_two_aliases_of_one_database(monkeypatch, changes):
    alias_of_a_copy(monkeypatch, "second", **changes)
    with findings() as found, transaction.atomic():
        write_default()
        delete_from("second")
    assert found == []
    assert ("second", False) in watching.watched.writes


# Without a test's own transaction


@pytest.mark.django_db(databases=BOTH, transaction=True)
class TestCommits:
    def test_a_block_in_which_autocommit_writes(self):
        with findings() as found, transaction.atomic():
            write_default()
            write_reviews()
        assert len(found) == 1 and "outside of any atomic() on reviews" in found[0]

    def test_what_runs_after_the_commit_is_not_part_of_the_block(self):
        with findings() as found, transaction.atomic(durable=True):
            write_default()
            transaction.on_commit(write_reviews)
        assert found == [] and Review.objects.count() == 1

    def test_a_callback_has_blocks_of_its_own(self):
        def both():
            with transaction.atomic("reviews"):  # callback
                write_reviews(), write_default()

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with transaction.atomic():  # block
                write_default(), write_reviews()
                transaction.on_commit(both)
        texts = [str(item.message) for item in caught]
        assert [text.partition(" (")[0] for text in texts] == [
            "atomic() on reviews",  # the callback ends before the block does
            "atomic() on default",
        ]
        assert [f"test_watching.py:{item.lineno}" for item in caught] == [
            line_of(f"# {which}", self.test_a_callback_has_blocks_of_its_own)
            for which in ("callback", "block")
        ]

    def test_an_error_filter_raises_after_the_commit(self):
        with pytest.raises(TwoDatabasesWarning), warnings.catch_warnings():
            warnings.simplefilter("error")
            with transaction.atomic(), transaction.atomic("reviews"):
                write_default(), write_reviews()
        assert Product.objects.count() == Review.objects.count() == 1
        assert not any(connections[alias].in_atomic_block for alias in BOTH)
        assert watching.watched.open == []

    def test_the_exception_of_a_block_is_not_replaced(self):
        with pytest.raises(ZeroDivisionError) as raised, warnings.catch_warnings():
            warnings.simplefilter("error")
            with transaction.atomic():
                write_default(), write_reviews()
                raise ZeroDivisionError
        (note,) = raised.value.__notes__
        assert "wrote to 2 databases" in note
        assert (Product.objects.count(), Review.objects.count()) == (0, 1)

    def test_a_block_that_is_rolled_back_is_found(self):
        both = transaction.atomic(), transaction.atomic("reviews")
        with findings() as found, pytest.raises(ZeroDivisionError), both[0], both[1]:
            write_default(), write_reviews()
            raise ZeroDivisionError
        assert len(found) == 1
        assert Product.objects.count() == Review.objects.count() == 0

    def test_a_commit_that_fails(self, monkeypatch):
        def fail():
            raise DatabaseError("the commit failed")

        with pytest.raises(DatabaseError) as raised, warnings.catch_warnings():
            warnings.simplefilter("error")
            with transaction.atomic():
                write_default(), write_reviews()
                monkeypatch.setattr(connection, "commit", fail)
        assert "wrote to 2 databases" in raised.value.__notes__[0]

    def test_a_durable_block_is_still_refused(self):
        with findings() as found:
            refused = pytest.raises(RuntimeError, match="durable")
            with transaction.atomic(), refused, transaction.atomic(durable=True):
                pass
            assert watching.watched.open == []
            write_reviews()
        assert found == []

    def test_savepoints(self):
        with findings() as found, transaction.atomic():
            write_default()
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                write_default()
                raise ZeroDivisionError
        assert found == [] and Product.objects.count() == 1


# The watcher itself


def test_number_of_queries(django_assert_num_queries):
    with django_assert_num_queries(3), transaction.atomic():  # with the savepoint
        write_default()


def test_blocks_may_overlap():
    stack = ExitStack()
    default, reviews = transaction.atomic("default"), transaction.atomic("reviews")
    with findings() as found, stack:
        default.__enter__()
        reviews.__enter__()
        write_default()
        default.__exit__(None, None, None)
        write_reviews()
        reviews.__exit__(None, None, None)
    assert len(found) == 1 and watching.watched.open == []


def test_a_wrapper_of_somebody_else_stays_in_order():
    seen = []

    def other(execute, sql, params, many, context):
        seen.append(sql)
        return execute(sql, params, many, context)

    fresh = connections.create_connection("default")
    try:
        with fresh.execute_wrapper(other):
            # As when the first query inside opens the connection.
            watching.wrap(fresh)
        assert fresh.execute_wrappers == [watching.note]
        watching.wrap(fresh)
        assert fresh.execute_wrappers == [watching.note]
    finally:
        fresh.close()


def test_a_new_connection_is_watched():
    if connection.vendor == "sqlite":
        pytest.skip("another connection would wait for the lock of the test")
    fresh = connections.create_connection("default")
    fresh.ensure_connection()
    assert fresh.execute_wrappers == [watching.note]
    fresh.close()
    fresh.ensure_connection()
    assert fresh.execute_wrappers == [watching.note]
    fresh.close()


def test_nothing_is_left_after_stop(request):
    watching.start()  # a second time does no harm
    watching.stop()
    request.addfinalizer(watching.start)
    assert (Atomic.__enter__, Atomic.__exit__) == (watching.django_enter, watching.django_exit)
    assert Atomic.__enter__.__module__ == Atomic.__exit__.__module__ == "django.db.transaction"
    assert not connection_created.disconnect(watching.wrap)  # it is not connected
    assert not any(watching.note in item.execute_wrappers for item in connections.all())
    with findings() as found, transaction.atomic():
        write_default(), write_reviews()
    assert found == []
