"""Read your writes: who has written sees it at the next read, whichever database that read asks."""

import re
from contextlib import contextmanager, nullcontext

from django.conf import settings

from shop import reading

COOKIE = "position_{}"  # of a shard: each browser carries those of the shards that it wrote to
SAFE_METHODS = {"GET", "HEAD", "OPTIONS", "TRACE"}

# Not a list of what writes, which would have to be complete.
READS = re.compile(
    r"[\s(]*(SELECT|VALUES|EXPLAIN|SHOW|PRAGMA|BEGIN|SAVEPOINT|RELEASE|ROLLBACK|SET)\b", re.I
)


def is_read(sql):
    return READS.match(str(sql)) is not None


def note_writes(execute, sql, params, many, context):
    """Wrap the execution of a query on a primary: the current scope notes each write."""
    shard = reading.current().get(context["connection"].alias)
    if shard is None or is_read(sql):
        return execute(sql, params, many, context)
    try:
        return execute(sql, params, many, context)
    finally:
        shard.note_write()
        if context["connection"].in_atomic_block:
            # A position that another thread of this scope takes before the COMMIT is too early.
            context["connection"].on_commit(shard.note_write)


class ReadYourWritesMiddleware:
    """Give each request a scope, ``request.reading``, and each writer a cookie for each shard.

    The next requests of the same browser carry the position of its last write to a shard, and are
    read, as far as that shard goes, from databases that have reached it. What wrote was a
    statement, be it in a POST or in a GET. A request whose method is made for writing reads from
    the primaries throughout: what it checks before it writes has to be true now.
    """

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        with scope_of(request):
            response = self.get_response(request)
            for alias, shard in request.reading.items():
                if shard.last_write:
                    carry_position(response, alias, shard)
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


def carry_position(response, alias, shard):
    response.set_signed_cookie(
        COOKIE.format(alias),
        # Taken anew: this browser may have made another request meanwhile, and written in it.
        shard.take_position(),
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
