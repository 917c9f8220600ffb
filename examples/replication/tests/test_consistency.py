"""The middleware: scopes of requests, and the cookie that carries a position."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core import signing
from django.db import connections, transaction
from django.http import HttpResponse, JsonResponse
from django.test import AsyncClient, AsyncRequestFactory, Client
from django.urls import path

from products.models import Product
from replicas import reading
from replicas.consistency import ReadYourWritesMiddleware, is_read
from replicas.positions import LogPosition
from shop.urls import urlpatterns as shop_urls

REPLICAS = {"replica1", "replica2"}
COOKIE = "position_default"


def read(request):
    return JsonResponse({"alias": Product.objects.get(pk=1)._state.db})


def write(request):
    Product.objects.filter(pk=1).update(name="Renamed sundial")
    return read(request)


def write_and_fail(request):
    Product.objects.filter(pk=1).update(name="Renamed sundial")
    raise RuntimeError("the clock fell off the counter")


@transaction.atomic
def write_in_a_transaction(request):
    return write(request)


@reading.use_primary()
def read_primary(request):
    return read(request)


@reading.allow_stale()
def read_stale(request):
    return read(request)


async def read_async(request):
    product = await Product.objects.aget(pk=1)
    return JsonResponse({"alias": product._state.db})


async def write_async(request):
    await Product.objects.filter(pk=1).aupdate(name="Renamed sundial")
    return await read_async(request)


views = [
    read,
    write,
    write_and_fail,
    write_in_a_transaction,
    read_primary,
    read_stale,
    read_async,
    write_async,
]
urlpatterns = [*shop_urls, *(path(f"{view.__name__}/", view) for view in views)]


@pytest.fixture
def browser(shop, settings):
    settings.ROOT_URLCONF = "test_consistency"
    return Client(raise_request_exception=False)


def alias(response):
    return response.json()["alias"]


def test_a_reader_gets_no_cookie(browser):
    response = browser.get("/read/")
    assert alias(response) in REPLICAS
    assert not response.cookies


@pytest.mark.parametrize("view", ["write", "write_in_a_transaction", "write_async"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_writer_reads_from_what_has_the_write(browser, shop, view, method):
    response = getattr(browser, method)(f"/{view}/")
    assert alias(response) == "default"
    cookie = response.cookies[COOKIE]
    assert (cookie["max-age"], cookie["httponly"], cookie["samesite"]) == (120, True, "Lax")
    assert alias(browser.get("/read/")) == "default"
    assert alias(browser.get("/read_async/")) == "default"
    shop.replicate("replica2")
    assert alias(browser.get("/read/")) == "replica2"
    shop.replicate("replica1")
    assert {alias(browser.get("/read/")) for _ in range(30)} == REPLICAS


def test_what_was_written_before_a_view_failed_counts_too(browser):
    assert browser.get("/write_and_fail/").status_code == 500
    assert alias(browser.get("/read/")) == "default"


def test_a_request_made_for_writing_reads_from_the_primary_and_pins_nobody(browser):
    for method in browser.post, browser.put, browser.patch, browser.delete:
        response = method("/read/")
        assert alias(response) == "default"
        assert not response.cookies
    for method in browser.get, browser.options:
        assert alias(method("/read/")) in REPLICAS


def test_views_that_demand(browser):
    browser.get("/write/")
    assert alias(browser.get("/read_stale/")) in REPLICAS
    assert alias(browser.post("/read_stale/")) in REPLICAS
    browser.cookies.clear()
    assert alias(browser.get("/read/")) in REPLICAS
    assert alias(browser.get("/read_primary/")) == "default"


@pytest.mark.parametrize("cookie", ["1000000", "1000000:1tABCD:forged", "", ":", "a" * 5000])
def test_a_cookie_that_is_not_ours_is_ignored(browser, cookie):
    browser.cookies[COOKIE] = cookie
    assert alias(browser.get("/read/")) in REPLICAS


class OtherPosition(LogPosition):
    """Of another engine: it could make nothing of the positions of this one."""


def test_a_position_of_another_engine_is_ignored(browser, settings):
    browser.get("/write/")
    assert alias(browser.get("/read/")) == "default"
    settings.REPLICA_POSITION = "test_consistency.OtherPosition"
    assert alias(browser.get("/read/")) in REPLICAS


def test_a_cookie_expires_when_no_replica_can_lack_the_write(browser, shop, monkeypatch):
    browser.get("/write/")
    now = signing.time.time()
    monkeypatch.setattr(signing.time, "time", lambda: now + 119)
    shop.let_lag("replica1", -119), shop.let_lag("replica2", -119)
    assert alias(browser.get("/read/")) == "default"
    monkeypatch.setattr(signing.time, "time", lambda: now + 121)
    assert alias(browser.get("/read/")) in REPLICAS


def test_the_position_is_never_older_than_what_another_tab_wrote(shop, browser, rf):
    """A request that wrote early, and ends after another of the same browser."""

    def slow(request):
        write(request)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(other_tab).result(timeout=20)
        return HttpResponse()

    def other_tab():
        browser.get("/write/")
        connections.close_all()

    response = ReadYourWritesMiddleware(slow)(rf.get("/"))
    assert int(response.cookies[COOKIE].value.split(":")[0]) >= int(
        browser.cookies[COOKIE].value.split(":")[0]
    )


def test_logging_in_and_out(shop):
    browser = Client()
    login = "/accounts/login/?next=/products/1/"
    response = browser.post(login, {"username": "huygens", "password": "pendulum"})
    assert response.status_code == 302
    assert "Log out huygens" in browser.get(response.url).content.decode()
    shop.replicate()
    page = browser.get("/products/1/")
    assert "Log out huygens" in page.content.decode()
    # The session alone is read from the primary.
    counts = page.wsgi_request.query_log.counts
    assert counts.pop("default") == 1
    assert set(counts) < REPLICAS

    session = browser.cookies["sessionid"].value
    browser.post("/accounts/logout/")
    thief = Client()
    thief.cookies["sessionid"] = session
    assert "Log out" not in thief.get("/products/1/").content.decode()


def test_the_admin_reads_what_it_wrote(shop):
    User.objects.create_superuser("malcolm", password="pendulum")
    browser = Client()
    browser.post("/admin/login/?next=/admin/", {"username": "malcolm", "password": "pendulum"})
    product = {"name": "Borrowed egg timer", "description": "Egg not included.", "price": "3.00"}
    response = browser.post("/admin/products/product/add/", product, follow=True)
    assert "was added successfully" in response.content.decode()
    assert response.content.decode().count("Borrowed egg timer") > 1  # the message, and the list
    pk = Product.objects.latest("pk").pk
    # A form that is going to be saved shows what is true now.
    change = browser.get(f"/admin/products/product/{pk}/change/")
    assert change.context["original"]._state.db == "default"
    response = browser.post(f"/admin/products/product/{pk}/delete/", {"post": "yes"}, follow=True)
    assert f"/admin/products/product/{pk}/change/" not in response.content.decode()


def test_under_asgi(shop, settings):
    settings.ROOT_URLCONF = "test_consistency"

    async def requests():
        browser, other = AsyncClient(), AsyncClient()
        try:
            aliases = []
            for client, view in [
                (browser, "read"),
                (browser, "write_async"),
                (browser, "read_async"),
                (browser, "read"),
                (other, "read_async"),
            ]:
                aliases.append(alias(await client.get(f"/{view}/")))
            return aliases
        finally:
            await sync_to_async(connections.close_all)()

    before, *after, other = asyncio.run(requests())
    assert before in REPLICAS and other in REPLICAS
    assert after == ["default"] * 3


def test_the_middleware_is_asynchronous_where_the_next_is(shop):
    """It does not move a request to a thread and back."""
    assert ReadYourWritesMiddleware.sync_capable and ReadYourWritesMiddleware.async_capable
    views = []

    async def view(request):
        views.append(asyncio.current_task())
        return await write_async(request)

    async def request():
        try:
            return await ReadYourWritesMiddleware(view)(AsyncRequestFactory().get("/"))
        finally:
            await sync_to_async(connections.close_all)()
            views.append(asyncio.current_task())

    response = asyncio.run(request())
    assert views[0] is views[1]
    assert COOKIE in response.cookies
    assert b"default" in response.content


@pytest.mark.parametrize(
    "sql",
    ["SELECT 1", "  select 1", "(SELECT 1) UNION (SELECT 2)", "SAVEPOINT s1", "BEGIN IMMEDIATE"],
)
def test_a_statement_that_reads(sql):
    assert is_read(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (1)",
        'UPDATE "t" SET a = 1',
        "\n  delete from t",
        "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone",
        "TRUNCATE t",
        "SELECTED",
        "VACUUM",
        "/* a note */ SELECT 1",  # not worth a closer look: a write too many costs little
    ],
)
def test_a_statement_that_may_write(sql):
    assert not is_read(sql)
