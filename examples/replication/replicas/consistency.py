"""Read your writes: who has written sees it at the next read, whichever database that read asks."""

import re
from contextlib import contextmanager, nullcontext

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from replicas import reading

COOKIE = "position_{}"  # of a primary: each browser carries those of the primaries it wrote to
SAFE_METHODS = {"GET", "HEAD", "OPTIONS", "TRACE"}

# Not a list of what writes, which would have to be complete.
READS = re.compile(
    r"[\s(]*(SELECT|VALUES|EXPLAIN|SHOW|PRAGMA|BEGIN|SAVEPOINT|RELEASE|ROLLBACK|SET)\b", re.I
)


def is_read(sql):
    return READS.match(str(sql)) is not None


def note_writes(execute, sql, params, many, context):
    """Wrap the execution of a query on a primary: the current scope notes each write."""
    primary = (reading.current() or {}).get(context["connection"].alias)
    if primary is None or is_read(sql):
        return execute(sql, params, many, context)
    try:
        return execute(sql, params, many, context)
    finally:
        primary.note_write()
        if context["connection"].in_atomic_block:
            # A position that another thread of this scope takes before the COMMIT is too early.
            context["connection"].on_commit(primary.note_write)


class ReadYourWritesMiddleware:
    """Give each request a scope, ``request.reading``, and each writer a cookie with the position.

    The next requests of the same browser carry the position of its last write to a primary, and
    are read, as far as that primary's rows go, from databases that have reached it. What wrote was
    a statement, be it in a POST or in a GET. A request whose method is made for writing reads from
    the primaries throughout: what it checks before it writes has to be true now.

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
        return response

    async def __acall__(self, request):
        with scope_of(request):
            response = await self.get_response(request)
            if any(primary.last_write for primary in request.reading.values()):
                await sync_to_async(carry_positions)(request, response)
        return response


@contextmanager
def scope_of(request):
    positions = {
        # The salt: a position that was taken on another engine does not count.
        alias: request.get_signed_cookie(
            COOKIE.format(alias), default=None, salt=settings.REPLICA_POSITION, max_age=cookie_age()
        )
        for alias in settings.REPLICAS
    }
    demand = nullcontext() if request.method in SAFE_METHODS else reading.use_primary()
    with reading.scope(positions) as request.reading, demand:
        yield


def carry_positions(request, response):
    """Give the browser a cookie for each primary that the request wrote to."""
    for alias, primary in request.reading.items():
        if primary.last_write:
            response.set_signed_cookie(
                COOKIE.format(alias),
                # Taken anew: this browser may have made another request meanwhile, and written.
                primary.take_position(),
                salt=settings.REPLICA_POSITION,
                max_age=cookie_age(),
                httponly=True,
                samesite="Lax",
                secure=settings.SESSION_COOKIE_SECURE,
            )


def cookie_age():
    # A replica that lacks a write from longer ago is not read from, so nobody needs to carry the
    # position any further. Twice, because clocks differ.
    return 2 * settings.REPLICA_MAX_LAG
