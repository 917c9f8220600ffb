"""Read your writes: each rung of the ladder, the property that it brings, and what it still lacks.

A test is a property, and runs on every rung. It has to fail on those below the one that cures it:
``strict`` makes it fail otherwise. The last rung is the project's own.
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
    """Reads to a replica, writes to the primary."""

    middleware = None

    def db_for_read(self, model, **hints):
        return "default" if model._meta.app_label == "sessions" else "replica1"


class PinnedByTheView(Plain):
    """The talk's: the view that wrote notes in the session until when to read from the primary."""

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
    """A middleware that takes any POST for a write."""

    @classmethod
    @contextmanager
    def middleware(cls, request):
        cls.pinned = time() < request.session.get("pinned_until", 0)
        yield
        if request.method == "POST":
            request.session["pinned_until"] = time() + PIN


class PinnedByWrite(PinnedByTheView):
    """A middleware that hears the statements of the next requests' writer."""

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
    """And the rest of the same request is pinned too, in a thread's variable."""

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
    """The same in a context variable, and while the primary is in a transaction."""

    class Thread:
        variable = ContextVar("pinned", default=False)
        pinned = property(lambda self: self.variable.get(), lambda self, v: self.variable.set(v))

    thread = Thread()

    def db_for_read(self, model, **hints):
        return "default" if connections["default"].in_atomic_block else super().db_for_read(model)


class Position(ReplicaRouter):
    """The project's own: the reader carries the position of the last write."""


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
    """What the rung's own middleware does, around the view."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        (rung,) = router.routers
        with rung.middleware(request):
            return self.get_response(request)


def cured_by(cure, ladder=LADDER):
    """Run a test on each rung of ``ladder``, and expect it to fail on those before ``cure``."""
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
            # After the session's and the user's, as the view would be.
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
    """A GET that writes, as a counter of visits would, and then reads."""
    Product.objects.filter(pk=1).update(name="Visited sundial")
    return JsonResponse({"seen": Product.objects.get(pk=1).name})


async def visit_async(request):
    """The same, but the read is in another thread."""
    await Product.objects.filter(pk=1).aupdate(name="Visited sundial")
    read = sync_to_async(lambda: Product.objects.get(pk=1).name, thread_sensitive=False)
    return JsonResponse({"seen": await read()})


def visit_atomic(request):
    """A transaction that reads, writes and reads, and tells which database it read from first."""
    with transaction.atomic():
        product = Product.objects.get(pk=1)
    return JsonResponse({"read from": product._state.db})


def rename(request):
    """A POST that writes, in a view that knows nothing of replicas."""
    Product.objects.filter(pk=1).update(name="Renamed sundial")
    return JsonResponse({})


def search(request):
    """A POST that only reads."""
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
    """The databases that a page's products and reviews were read from."""
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
