"""Read-your-writes: each user sees their own writes at the next read, from any database."""

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

# With the alias of a primary. The name of a cookie also has a few random letters, new ones for each
# write. So when a browser sends two requests at a time, their responses set two cookies, and
# neither replaces the position of the other.
COOKIE = "position_{}"
HEADER = "Position-{}"  # the same position in a header, for clients without cookies
SAFE_METHODS = {"GET", "HEAD", "OPTIONS", "TRACE"}

# A list of reads, not of writes: a list of writes would have to be complete.
READS = re.compile(
    r"[\s(]*(SELECT|VALUES|EXPLAIN|SHOW|PRAGMA|BEGIN|SAVEPOINT|RELEASE|ROLLBACK|SET)\b", re.I
)
WRITES_TO = re.compile(r"""(?:INSERT INTO|UPDATE|DELETE FROM) ["`](\w+)["`]""")


def is_read(sql):
    sql = str(sql)
    if READS.match(sql) is None:
        return False
    # EXPLAIN ANALYZE runs the statement, SELECT INTO makes a table, and a second statement may
    # follow a semicolon. These words may also be in a quoted text. Then a read counts as a write,
    # which costs little.
    words = sql.upper()
    return not (";" in sql.rstrip("; \n") or " INTO " in words or "ANALY" in words)


def note_writes(execute, sql, params, many, context):
    """Wrap the execution of a query on a primary, to record each write in the current scope."""
    primary = (reading.current() or {}).get(context["connection"].alias)
    if primary is None or is_read(sql) or not reading.are_noted() or is_unnoted(sql):
        return execute(sql, params, many, context)
    try:
        return execute(sql, params, many, context)
    finally:
        primary.note_write()


def is_unnoted(sql):
    """Return whether the statement writes to a table that is never read from a replica."""
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
    """Open a scope for each request, ``request.reading``. After a write, set a cookie.

    The cookie has the position of the primary after the write. The next requests of this browser
    send it, and read the rows of this primary only from databases that have reached the position.
    A request counts as a write if it executed a statement that writes, whether it was a POST or a
    GET. A request with an unsafe method, such as POST, reads only from the primaries, because it
    may check a row before it writes, and the check needs the current row.

    A streamed body is produced in the scope of its request, but after the headers. So a write in
    the body has no position yet. Therefore the browser is pinned to the primary after a streamed
    response if the method of the request was unsafe, or if the view called ``note_write()``.

    Raises ImproperlyConfigured if the app is not installed, because no write would be detected.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response):
        if not apps.is_installed("replicas"):
            raise ImproperlyConfigured(
                "ReadYourWritesMiddleware detects no write without its app, so add "
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
                carry_positions(request, response)  # needs no query
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
    """Return the positions in a request's cookies and header, by the name of the cookie."""
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
            continue  # a wrong signature, or older than the longest lag
    return positions


def signer(alias):
    # With this salt, a position of another engine is invalid.
    return signing.TimestampSigner(salt=f"{__name__} {alias} {settings.REPLICA_POSITION}")


def carry_positions(request, response):
    """Set a cookie for each primary that the request wrote to, or that its body may write to."""
    streams = response.streaming and not isinstance(response, FileResponse)
    for alias, primary in request.reading.items():
        may_write = streams and request.method not in SAFE_METHODS
        if not (primary.last_write or may_write):
            primary.answered = True
            continue
        # A new position: another request of this browser may have written in the meantime.
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
                # A database that has reached the new position has reached this position too.
                response.delete_cookie(name, **cookie_settings("DOMAIN", "PATH", "SAMESITE"))
        primary.answered = not streams


def stream_in_scope(response):
    """Let a streamed body read in the scope of its request, for example from the same replica."""
    if not response.streaming or isinstance(response, FileResponse):
        return
    steps = reading.in_async_steps if response.is_async else reading.in_steps
    response.streaming_content = steps(response.streaming_content)


def cookie_settings(*names):
    """Return attributes of the cookie: those of the session cookie, unless a setting differs.

    So the browser sends the cookie to each host and page to which it sends the session cookie.
    """
    return {
        name.lower(): getattr(
            settings, f"REPLICA_COOKIE_{name}", getattr(settings, f"SESSION_COOKIE_{name}")
        )
        for name in names
    }


def cookie_age():
    # A replica that lacks an older write is too far behind to be read from, so the cookie is not
    # needed any longer. The time is doubled because clocks differ.
    return 2 * settings.REPLICA_MAX_LAG
