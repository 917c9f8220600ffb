"""A shard that is down, with all that could stand in for it: a page that says which one."""

from django.conf import settings
from django.db import InterfaceError, OperationalError, connections
from django.shortcuts import render

from replicas.positions import ask
from sharding.gather import ShardDown

RETRY_AFTER = 30  # seconds


class ShardsDownMiddleware:
    """Answer 503 where a view needed a shard that is down; other shards' customers don't notice."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)

    def process_exception(self, request, exception):
        if isinstance(exception, ShardDown):
            shards = list(exception.errors)
        elif isinstance(exception, (OperationalError, InterfaceError)):
            shards = [alias for alias in settings.SHARDS if is_down(alias)]
        else:
            shards = []
        if not shards:
            return None  # an error of another kind: it goes on as Django has it
        response = render(request, "unavailable.html", {"shards": shards}, status=503)
        response["Retry-After"] = RETRY_AFTER
        return response


def is_down(alias):
    """Ask a shard's primary. The error doesn't say whose it is, where there is no connection."""
    try:
        # A table of it: SQLite makes an empty file where one is gone, and that would answer.
        ask(connections[alias], "SELECT 1 FROM fences_heldbucket WHERE number = -1")
    except (OperationalError, InterfaceError):
        return True
    return False
