"""Read your writes: who has written sees it at the next read, whichever database that read asks."""

import re
from contextlib import contextmanager, nullcontext
from functools import cache

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.apps import apps
from django.conf import settings
from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.http import FileResponse
from django.utils.crypto import get_random_string

from replicas import reading

# Of a primary. A cookie has a few letters more, which are others after each write: of two answers
# to one browser, neither can put its position in place of the other's, whichever comes first.
COOKIE = "position_{}"
HEADER = "Position-{}"  # the same in a header, for clients that keep no cookies
SAFE_METHODS = {"GET", "HEAD", "OPTIONS", "TRACE"}

# Not a list of what writes, which would have to be complete.
READS = re.compile(
    r"[\s(]*(SELECT|VALUES|EXPLAIN|SHOW|PRAGMA|BEGIN|SAVEPOINT|RELEASE|ROLLBACK|SET)\b", re.I
)
WRITES_TO = re.compile(r"""(?:INSERT INTO|UPDATE|DELETE FROM) ["`](\w+)["`]""")


def is_read(sql):
    sql = str(sql)
    if READS.match(sql) is None:
        return False
    # EXPLAIN ANALYZE runs what it explains, SELECT INTO makes a table, and a second statement may
    # follow. A word in a text is not worth a closer look: a write too many costs little.
    words = sql.upper()
    return not (";" in sql.rstrip("; \n") or " INTO " in words or "ANALY" in words)


def note_writes(execute, sql, params, many, context):
    """Wrap the execution of a query on a primary: the current scope notes each write."""
    primary = (reading.current() or {}).get(context["connection"].alias)
    if primary is None or is_read(sql) or not reading.are_noted() or is_unnoted(sql):
        return execute(sql, params, many, context)
    try:
        return execute(sql, params, many, context)
    finally:
        primary.note_write()


def is_unnoted(sql):
    """Return whether it writes to a table that no replica is ever asked for."""
    match = WRITES_TO.match(str(sql))
    return match is not None and match[1] in unnoted_tables()


@cache
def unnoted_tables():
    return {
        model._meta.db_table
        for model in apps.get_models(include_auto_created=True)
        if reading.belongs(model, reading.unnoted_apps())
    }


class ReadYourWritesMiddleware:
    """Give each request a scope, ``request.reading``, and each writer a cookie with the position.

    The next requests of the same browser carry the position of its last write to a primary, and
    are read, as far as that primary's rows go, from databases that have reached it. What wrote was
    a statement, be it in a POST or in a GET. A request whose method is made for writing reads from
    the primaries throughout: what it checks before it writes has to be true now.

    A streamed body is made in the scope of its request, but after its headers. So what it writes
    has no position yet: it is pinned to the primary for a while, whoever had a streamed answer to
    a request whose method is made for writing, or from a view that called ``note_write()``.

    Raises ImproperlyConfigured where the app is not installed: then nothing would note a write.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response):
        if not apps.is_installed("replicas"):
            raise ImproperlyConfigured(
                "ReadYourWritesMiddleware notes no write without its app: add "
                '"replicas" to INSTALLED_APPS.'
            )
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request):
        if iscoroutinefunction(self):
            return self.__acall__(request)
        with scope_of(request):
            response = self.get_response(request)
            carry_positions(request, response)
            stream_in_scope(response)
        return response

    async def __acall__(self, request):
        with scope_of(request):
            response = await self.get_response(request)
            if any(primary.last_write for primary in request.reading.values()):
                await sync_to_async(carry_positions)(request, response)
            else:
                carry_positions(request, response)  # asks no database
            stream_in_scope(response)
        return response


@contextmanager
def scope_of(request):
    demand = nullcontext() if request.method in SAFE_METHODS else reading.use_primary()
    with reading.scope() as request.reading, demand:
        for alias, primary in request.reading.items():
            if positions := positions_of(request, alias):
                primary.carry(frozenset(positions.values()))
        yield


def positions_of(request, alias):
    """Return the positions that a request came with, by the names of the cookies, or headers."""
    header = HEADER.format(alias.replace("_", "-"))
    tokens = {
        name: token
        for name, token in request.COOKIES.items()
        if name.rpartition("_")[0] == COOKIE.format(alias)
    } | {f"{header} {n}": t for n, t in enumerate(request.headers.get(header, "").split(","))}
    positions = {}
    for name, token in tokens.items():
        if not token:
            continue
        try:
            positions[name] = signer(alias).unsign(token.strip(), max_age=cookie_age())
        except signing.BadSignature:
            continue  # not ours, or from before the longest lag
    return positions


def signer(alias):
    # The salt: a position that was taken on another engine does not count.
    return signing.TimestampSigner(salt=f"{__name__} {alias} {settings.REPLICA_POSITION}")


def carry_positions(request, response):
    """Give the browser a cookie for each primary that the request wrote to, or may yet."""
    streams = response.streaming and not isinstance(response, FileResponse)
    for alias, primary in request.reading.items():
        may_write = streams and request.method not in SAFE_METHODS
        if not (primary.last_write or may_write):
            primary.answered = True
            continue
        # Taken anew: this browser may have made another request meanwhile, and written.
        position = reading.PINNED if streams else primary.take_position()
        token = signer(alias).sign(position)
        response.headers[HEADER.format(alias.replace("_", "-"))] = token
        response.set_cookie(
            f"{COOKIE.format(alias)}_{get_random_string(6)}",
            token,
            max_age=cookie_age(),
            httponly=True,
            **cookie_settings("DOMAIN", "PATH", "SAMESITE", "SECURE"),
        )
        for name, before in positions_of(request, alias).items():
            if name in request.COOKIES and before != reading.PINNED:
                # What has reached the new position has reached this one.
                response.delete_cookie(name, **cookie_settings("DOMAIN", "PATH", "SAMESITE"))
        primary.answered = not streams


def stream_in_scope(response):
    """Let a streamed body read as its request does: from the same replica, say."""
    if not response.streaming or isinstance(response, FileResponse):
        return
    steps = reading.in_async_steps if response.is_async else reading.in_steps
    response.streaming_content = steps(response.streaming_content)


def cookie_settings(*names):
    """Return those of the cookie, which are the session cookie's unless a setting says otherwise.

    Then each host, and each page, that knows who the user is also knows what the user has written.
    """
    return {
        name.lower(): getattr(
            settings, f"REPLICA_COOKIE_{name}", getattr(settings, f"SESSION_COOKIE_{name}")
        )
        for name in names
    }


def cookie_age():
    # A replica that lacks a write from longer ago is not read from, so nobody needs to carry the
    # position any further. Twice, because clocks differ.
    return 2 * settings.REPLICA_MAX_LAG
