"""The middleware: scopes of requests, and the cookie that carries a position."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from http.cookies import SimpleCookie
from io import BytesIO

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.core import signing
from django.db import OperationalError, connections, transaction
from django.db.models import F
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.test import AsyncClient, AsyncRequestFactory, Client
from django.urls import path

from products.models import Product
from replicas import reading
from replicas.consistency import ReadYourWritesMiddleware, is_read
from shop.urls import urlpatterns as shop_urls
from tests.shops import place, position_class

REPLICAS = {"replica1", "replica2"}


def cookie_of(holder):
    """Return the cookie with a position, of a response or of a browser. There must be only one."""
    (cookie,) = (
        cookie
        for name, cookie in holder.cookies.items()
        if name.startswith("position_default_") and cookie.value
    )
    return cookie


def read(request):
    return JsonResponse({"alias": Product.objects.get(pk=1)._state.db})


def write(request):
    # Each update changes the row. MariaDB does not log an update that changes nothing, so it would
    # have no new position.
    Product.objects.filter(pk=1).update(name="Renamed sundial", price=F("price") + 1)
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


def stream(request):
    def body():
        yield Product.objects.db
        if "write" in request.GET:
            Product.objects.filter(pk=1).update(name="Renamed sundial")
        yield f" {Product.objects.db}"

    if "note" in request.GET:
        reading.note_write()
    return StreamingHttpResponse(body())


async def stream_async(request):
    async def body():
        product = await Product.objects.aget(pk=1)
        yield product._state.db
        if "write" in request.GET:
            await Product.objects.filter(pk=1).aupdate(name="Renamed sundial")
        product = await Product.objects.aget(pk=1)
        yield f" {product._state.db}"

    if "note" in request.GET:
        await sync_to_async(reading.note_write)()
    return StreamingHttpResponse(body())


def file(request):
    return FileResponse(BytesIO(b"cuckoo"))


def count(request):
    with reading.unnoted():
        Product.objects.filter(pk=1).update(price=F("price") + 1)
    return read(request)


@transaction.atomic
def template(request):
    first = Product.objects.get(pk=1)._state.db
    return TemplateResponse(request, ReadsLate(), {"first": first})


class ReadsLate:
    """A template that is rendered after the view has returned, and after its transaction."""

    def render(self, context, request):
        return f"{context['first']} {Product.objects.get(pk=1)._state.db}"


views = [
    stream,
    stream_async,
    file,
    count,
    template,
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
    cookie = cookie_of(response)
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
    browser.cookies["position_default_a"] = cookie
    assert alias(browser.get("/read/")) in REPLICAS


class OtherPosition(position_class()):
    """Positions of another engine, which cannot be compared with positions of this engine."""


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
    """A request writes, and ends after another request of the same browser, which writes later."""

    def slow(request):
        write(request)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(other_tab).result(timeout=20)
        return HttpResponse()

    def other_tab():
        browser.get("/write/")
        connections.close_all()

    response = ReadYourWritesMiddleware(slow)(rf.get("/"))
    first, last = (cookie_of(holder).value.split(":")[0] for holder in (browser, response))
    assert place(last) >= place(first)


def body(response):
    async def collect():
        return b"".join([part async for part in response])

    text = async_to_sync(collect)() if response.is_async else response.getvalue()
    return text.decode().split()


@pytest.mark.parametrize("view", ["stream", "stream_async"])
def test_a_streamed_body_reads_as_its_request_does(browser, view):
    alias_, other = body(browser.get(f"/{view}/"))
    assert alias_ == other and alias_ in REPLICAS
    assert body(browser.post(f"/{view}/")) == ["default"] * 2
    browser.cookies.clear()
    browser.get("/write/")
    assert body(browser.get(f"/{view}/")) == ["default"] * 2
    assert reading.current() is None


@pytest.mark.parametrize("view", ["stream", "stream_async"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_streamed_body_that_writes_pins_to_the_primary(browser, shop, caplog, view, method):
    """The cookie is sent before the body writes, so there is no position that includes the write.

    The browser is pinned until the cookie expires.
    """
    query = "?write=1&note=1" if method == "get" else "?write=1"
    assert body(getattr(browser, method)(f"/{view}/{query}"))[1] == "default"
    shop.replicate("replica1")
    assert alias(browser.get("/read/")) == "default"
    browser.get("/write/")  # its position does not end the pin
    shop.replicate()
    assert alias(browser.get("/read/")) == "default"
    assert not caplog.records


@pytest.mark.parametrize("view", ["stream", "stream_async"])
def test_a_streamed_body_that_writes_without_notice_is_logged(browser, caplog, view):
    response = browser.get(f"/{view}/?write=1")
    assert body(response)[1] == "default"  # the body itself sees the write
    assert not response.cookies
    (message,) = caplog.messages
    assert message.startswith('A write to "default" came after the response had started')
    assert "reading.note_write()" in message


def test_a_file_is_left_to_the_server(shop, rf):
    for method in rf.get, rf.post:
        response = ReadYourWritesMiddleware(file)(method("/"))
        assert response.file_to_stream and not response.cookies


def test_what_a_page_reads_after_its_transaction_is_of_the_same_state(browser):
    response = browser.get("/template/")
    assert response.content == b"default default" and not response.cookies


def test_a_counter_pins_nobody(browser):
    response = browser.get("/count/")
    assert alias(response) in REPLICAS and not response.cookies


def test_a_client_without_cookies_sends_the_header_back(shop, settings):
    settings.ROOT_URLCONF = "test_consistency"

    def request(view, *positions):
        headers = {"Position-default": ", ".join(positions)} if positions else {}
        return Client().get(f"/{view}/", headers=headers)

    position = request("write").headers["Position-default"]
    assert "Position-default" not in request("read").headers
    assert alias(request("read")) in REPLICAS
    assert alias(request("read", position)) == "default"
    assert alias(request("read", position[:-1])) in REPLICAS
    shop.replicate("replica2")
    later = request("write").headers["Position-default"]
    assert alias(request("read", position)) == "replica2"
    assert alias(request("read", position, later)) == "default"
    assert alias(request("read", later, position)) == "default"


def test_answers_that_come_in_another_order_do_not_put_the_position_back(browser, shop):
    first = browser.get("/write/")
    browser.cookies.clear()  # as if the first response had not arrived yet
    shop.replicate("replica1")
    second = browser.get("/write/")
    browser.cookies.update(first.cookies)
    assert second.cookies.keys() <= browser.cookies.keys()
    assert alias(browser.get("/read/")) == "default"
    shop.replicate("replica2")
    assert alias(browser.get("/read/")) == "replica2"


def test_a_browser_keeps_one_cookie_for_all_its_writes(browser):
    for _ in range(5):
        response = browser.get("/write/")
        # A browser deletes such a cookie. The test client does not.
        for name, cookie in response.cookies.items():
            if cookie["max-age"] == 0:
                del browser.cookies[name]
        assert cookie_of(browser)


SESSION_COOKIE = {"DOMAIN": ".clocks.example", "PATH": "/shop/", "SECURE": True, "SAMESITE": "None"}


@pytest.mark.parametrize("prefix", ["SESSION_COOKIE", "REPLICA_COOKIE"])
def test_the_cookie_is_for_whom_the_session_is_unless_a_setting_says_otherwise(
    browser, settings, prefix
):
    browser.get("/write/")
    for name, value in SESSION_COOKIE.items():
        setattr(settings, f"{prefix}_{name}", value)
    response = browser.get("/write/")
    new, old = sorted(response.cookies.values(), key=lambda cookie: cookie.value, reverse=True)
    assert [new[name.lower()] for name in SESSION_COOKIE] == list(SESSION_COOKIE.values())
    assert old.value == "" and old["domain"] == new["domain"] and old["path"] == new["path"]


@pytest.mark.parametrize("view", ["write", "write_async", "write_in_a_transaction"])
def test_what_is_committed_is_not_answered_by_an_error(browser, shop, monkeypatch, caplog, view):
    """If the position cannot be read, the browser is pinned to the primary."""

    def fail(*arguments):
        raise OperationalError("the server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(position_class(), "written", fail)
        assert alias(browser.get(f"/{view}/")) == "default"
    assert set(caplog.messages) == {
        'The position of "default" cannot be read: the server closed the connection unexpectedly'
    }
    shop.replicate()
    assert alias(browser.get("/read/")) == "default"
    browser.cookies.clear()
    assert alias(browser.get("/read/")) in REPLICAS


def test_a_session_that_is_saved_at_each_request_pins_nobody(browser, settings, shop):
    settings.SESSION_SAVE_EVERY_REQUEST = True
    browser.login(username="huygens", password="pendulum")
    shop.replicate()
    browser.get("/read/")
    assert alias(browser.get("/read/")) in REPLICAS
    assert set(browser.cookies) == {"sessionid"}


def test_a_right_that_was_taken_is_gone_at_once(shop):
    malcolm = User.objects.create_superuser("malcolm", password="pendulum")
    browser = Client()
    browser.force_login(malcolm)
    shop.replicate()
    browser.cookies = SimpleCookie({"sessionid": browser.cookies["sessionid"].value})
    assert browser.get("/admin/products/product/").status_code == 200
    User.objects.filter(pk=malcolm.pk).update(is_active=False)
    assert browser.get("/admin/products/product/").status_code == 302


def test_logging_in_and_out(shop):
    browser = Client()
    login = "/accounts/login/?next=/products/1/"
    response = browser.post(login, {"username": "huygens", "password": "pendulum"})
    assert response.status_code == 302
    assert "Log out huygens" in browser.get(response.url).content.decode()
    shop.replicate()
    page = browser.get("/products/1/")
    assert "Log out huygens" in page.content.decode()
    # Only the session and its user are read from the primary.
    counts = page.wsgi_request.query_log.counts
    assert counts.pop("default") == 2
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
    assert response.content.decode().count("Borrowed egg timer") > 1  # message and list
    pk = Product.objects.latest("pk").pk
    # The form of a change shows the current data, so it reads from the primary.
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
    """The middleware runs in the task of the view, without a change of thread."""
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
    assert cookie_of(response)
    assert b"default" in response.content


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "  select 1",
        "(SELECT 1) UNION (SELECT 2)",
        "SAVEPOINT s1",
        "BEGIN IMMEDIATE",
        "SELECT 1; ",
    ],
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
        "EXPLAIN (ANALYZE, VERBOSE) INSERT INTO t VALUES (1)",
        "SELECT a INTO b FROM t",
        "SELECT 1; DELETE FROM t",
        "/* a note */ SELECT 1",  # counts as a write, which costs little
    ],
)
def test_a_statement_that_may_write(sql):
    assert not is_read(sql)
