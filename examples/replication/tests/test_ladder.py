"""Read-your-writes by a ladder of seven routers, which are its rungs.

Each test checks one property on all rungs, or on the later rungs. The test must fail on each rung
before the one that adds the property, because ``strict=True`` counts a success there as a failure.
The last rung is the project's own code.
"""

import re
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from time import sleep, time

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import connections, router, transaction
from django.http import JsonResponse
from django.test import AsyncClient, Client
from django.urls import path

from products.models import Product
from replicas.consistency import is_read
from replicas.routers import ReplicaRouter
from reviews.models import Review
from shop.urls import urlpatterns as shop_urls

PIN = 0.4  # seconds
URL = "/products/1/"


# The rungs


class Plain(ReplicaRouter):
    """Reads go to a replica, and writes go to the primary."""

    middleware = None

    def db_for_read(self, model, **hints):
        return "default" if model._meta.app_label == "sessions" else "replica1"


class PinnedByTheView(Plain):
    """As in the talk, the view stores in the session until when to read from the primary."""

    pinned = False

    @classmethod
    @contextmanager
    def middleware(cls, request):
        cls.pinned = time() < request.session.get("pinned_until", 0)
        yield
        if request.method == "POST" and request.path.startswith("/products/"):
            request.session["pinned_until"] = time() + PIN

    def db_for_read(self, model, **hints):
        return "default" if self.pinned else super().db_for_read(model)


class PinnedByPost(PinnedByTheView):
    """A middleware pins after each POST, because it counts every POST as a write."""

    @classmethod
    @contextmanager
    def middleware(cls, request):
        cls.pinned = time() < request.session.get("pinned_until", 0)
        yield
        if request.method == "POST":
            request.session["pinned_until"] = time() + PIN


class PinnedByWrite(PinnedByTheView):
    """A middleware detects the statements that write, and pins the next requests."""

    @classmethod
    @contextmanager
    def middleware(cls, request):
        wrote = threading.Event()

        def hear(execute, sql, params, many, context):
            if not is_read(sql):
                wrote.set()
                cls.heard()
            return execute(sql, params, many, context)

        cls.pinned = time() < request.session.get("pinned_until", 0)
        with connections["default"].execute_wrapper(hear):
            yield
        if wrote.is_set():
            request.session["pinned_until"] = time() + PIN

    @classmethod
    def heard(cls):
        pass


class PinnedByThread(PinnedByWrite):
    """The rest of the same request is pinned too, by a thread-local variable."""

    thread = threading.local()

    @classmethod
    def heard(cls):
        cls.thread.pinned = True

    @classmethod
    @contextmanager
    def middleware(cls, request):
        cls.thread.pinned = False
        with super().middleware(request):
            yield

    def db_for_read(self, model, **hints):
        return "default" if getattr(self.thread, "pinned", False) else super().db_for_read(model)


class PinnedByContext(PinnedByThread):
    """A context variable pins the request. In a transaction on the primary, reads go there too."""

    class Thread:
        variable = ContextVar("pinned", default=False)
        pinned = property(lambda self: self.variable.get(), lambda self, v: self.variable.set(v))

    thread = Thread()

    def db_for_read(self, model, **hints):
        return "default" if connections["default"].in_atomic_block else super().db_for_read(model)


class Position(ReplicaRouter):
    """The project's own code: each request sends the position of the last write."""


LADDER = [
    Plain,
    PinnedByTheView,
    PinnedByPost,
    PinnedByWrite,
    PinnedByThread,
    PinnedByContext,
    Position,
]


class RungMiddleware:
    """Run the ``middleware`` of the rung around the view."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        (rung,) = router.routers
        with rung.middleware(request):
            return self.get_response(request)


def cured_by(cure, ladder=LADDER):
    """Run a test on each rung of ``ladder``. On the rungs before ``cure``, the test must fail."""
    falls = pytest.mark.xfail(strict=True, raises=AssertionError)
    before = ladder.index(cure)
    return pytest.mark.parametrize(
        "rung",
        [pytest.param(rung, marks=falls if n < before else ()) for n, rung in enumerate(ladder)],
        indirect=True,
    )


@pytest.fixture
def rung(request, shop, settings, monkeypatch):
    rung = request.param()
    monkeypatch.setattr(router, "routers", [rung])
    middleware = list(django_settings.MIDDLEWARE)
    if not isinstance(rung, Position):
        middleware.remove("replicas.consistency.ReadYourWritesMiddleware")
        if rung.middleware:
            # The last middleware, so that the request has a session and a user.
            middleware.append("test_ladder.RungMiddleware")
    settings.MIDDLEWARE = middleware
    settings.ROOT_URLCONF = "test_ladder"
    return rung


@pytest.fixture
def browser(rung):
    browser = Client()
    browser.force_login(User.objects.using("default").get())
    return browser


def visit(request):
    """Write in a GET, as a counter of visits does, and then read."""
    Product.objects.filter(pk=1).update(name="Visited sundial")
    return JsonResponse({"seen": Product.objects.get(pk=1).name})


async def visit_async(request):
    """Write in a GET, and then read in another thread."""
    await Product.objects.filter(pk=1).aupdate(name="Visited sundial")
    read = sync_to_async(lambda: Product.objects.get(pk=1).name, thread_sensitive=False)
    return JsonResponse({"seen": await read()})


def visit_atomic(request):
    """Read in a transaction, and return which database the row came from."""
    with transaction.atomic():
        product = Product.objects.get(pk=1)
    return JsonResponse({"read from": product._state.db})


def rename(request):
    """Write in a POST, in a view without code for replicas."""
    Product.objects.filter(pk=1).update(name="Renamed sundial")
    return JsonResponse({})


def search(request):
    """Only read in a POST."""
    return JsonResponse({"found": Product.objects.filter(name=request.POST["q"]).count()})


urlpatterns = [
    *shop_urls,
    path("visit/", visit),
    path("visit/async/", visit_async),
    path("visit/atomic/", visit_atomic),
    path("rename/", rename),
    path("search/", search),
]


def read_from(browser):
    """Return the aliases of the databases that the product on the page was read from."""
    queries = browser.get(URL).wsgi_request.query_log.queries
    return {
        query["alias"] for query in queries if "FROM products_product" in unquoted(query["sql"])
    }


def unquoted(sql):
    return re.sub('["`]', "", sql)


# The properties


@cured_by(PinnedByTheView)
def test_a_review_is_on_the_page_that_its_author_is_sent_to(browser):
    browser.post(URL, {"rating": 5, "text": "I set the radio by it."})
    assert "I set the radio by it." in browser.get(URL).content.decode()


@cured_by(PinnedByPost)
def test_so_is_what_another_view_wrote(browser):
    browser.post("/rename/")
    assert "Renamed sundial" in browser.get(URL).content.decode()


@cured_by(PinnedByWrite)
def test_so_is_what_a_get_wrote(browser):
    browser.get("/visit/")
    assert "Visited sundial" in browser.get(URL).content.decode()


@cured_by(PinnedByWrite, LADDER[2:])
def test_a_post_that_does_not_write_pins_nobody(browser):
    browser.post("/search/", {"q": "sundial"})
    assert "default" not in read_from(browser)


@cured_by(PinnedByThread)
def test_a_write_is_seen_by_the_same_request(browser):
    assert browser.get("/visit/").json() == {"seen": "Visited sundial"}


@cured_by(PinnedByContext)
def test_and_by_another_thread_of_the_same_request(rung):
    response = async_to_sync(AsyncClient().get)("/visit/async/")
    assert response.json() == {"seen": "Visited sundial"}


@cured_by(PinnedByContext)
def test_a_transaction_reads_from_the_database_that_it_is_on(browser):
    assert browser.get("/visit/atomic/").json() == {"read from": "default"}


@cured_by(Position)
def test_a_write_is_seen_when_the_lag_is_longer_than_the_pin(browser):
    browser.post(URL, {"rating": 5, "text": "I set the radio by it."})
    sleep(PIN)
    assert "I set the radio by it." in browser.get(URL).content.decode()


@cured_by(Position, LADDER[1:])
def test_nobody_is_pinned_when_the_replicas_have_caught_up(browser, shop):
    browser.post(URL, {"rating": 5, "text": "I set the radio by it."})
    shop.replicate()
    assert "default" not in read_from(browser)


def test_another_browser_sees_it_when_replication_has_run(shop):
    writer, reader = Client(), Client()
    writer.force_login(User.objects.get())
    writer.post(URL, {"rating": 5, "text": "I set the radio by it."})
    assert "I set the radio by it." in writer.get(URL).content.decode()
    assert "I set the radio by it." not in reader.get(URL).content.decode()
    shop.replicate()
    assert "I set the radio by it." in reader.get(URL).content.decode()
    assert Review.objects.count() == 1
