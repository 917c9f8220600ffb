from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import DatabaseError, connections
from django.http import HttpResponse
from django.test import RequestFactory

from products.models import Product
from shop.middleware import QueryLogMiddleware

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "replica1", "replica2"]),
    pytest.mark.usefixtures("connected"),
]


def answer(view):
    """Return a request after the middleware and ``view`` have answered it."""
    request = RequestFactory().get("/")
    QueryLogMiddleware(view)(request)
    return request


def test_queries_are_noted_in_order_with_alias_time_and_sql():
    def view(request):
        Product.objects.using("replica1").count()
        Product.objects.count()
        Product.objects.exists()
        return HttpResponse()

    log = answer(view).query_log
    assert [query["alias"] for query in log.queries] == ["replica1", "default", "default"]
    assert list(log.counts.items()) == [("replica1", 1), ("default", 2)]
    assert "products_product" in log.queries[0]["sql"]
    assert all(query["milliseconds"] > 0 for query in log.queries)


def test_a_query_that_fails_is_noted_too():
    def view(request):
        with connections["default"].cursor() as cursor, pytest.raises(DatabaseError):
            cursor.execute("SELECT nonsense")
        return HttpResponse()

    assert answer(view).query_log.counts == {"default": 1}


def test_nothing_is_noted_after_a_view_that_failed():
    def view(request):
        raise ZeroDivisionError

    request = RequestFactory().get("/")
    with pytest.raises(ZeroDivisionError):
        QueryLogMiddleware(view)(request)
    Product.objects.count()
    assert request.query_log.queries == []


def test_requests_in_two_threads_do_not_hear_each_other():
    both = Barrier(2, timeout=10)

    def serve(queries):
        connections["default"].ensure_connection()

        def view(request):
            both.wait()  # until the other thread has installed its wrappers
            for _ in range(queries):
                with connections["default"].cursor() as cursor:
                    cursor.execute("SELECT 1")
            both.wait()
            return HttpResponse()

        counts = answer(view).query_log.counts
        connections.close_all()
        return counts

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(serve, [1, 3])) == [{"default": 1}, {"default": 3}]


def test_the_foot_of_a_page(client, review, settings):
    settings.REPLICAS = {"default": ["replica2"]}
    response = client.get(f"/products/{review.product_id}/")
    foot = "3 queries: replica2 3 · replica2 at most 0.0 s behind"
    assert foot in response.content.decode()
