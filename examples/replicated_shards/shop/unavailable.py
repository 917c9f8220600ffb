"""The page for a view that needs a shard of which no database answers. It names the shard."""

from django.conf import settings
from django.db import InterfaceError, OperationalError, connections
from django.shortcuts import render

from replicas.positions import ask
from sharding.gather import ShardDown

RETRY_AFTER = 30  # seconds


class ShardsDownMiddleware:
    """Answer with status 503 if a view needs a shard that is down.

    Pages that need only other shards work as before.
    """

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
            return None  # an error of another kind, which Django handles as always
        response = render(request, "unavailable.html", {"shards": shards}, status=503)
        response["Retry-After"] = RETRY_AFTER
        return response


def is_down(alias):
    """Query a shard's primary, because an error of a connection doesn't name the alias."""
    try:
        # Query a table: SQLite creates an empty file if the file is missing, and SELECT 1 works.
        ask(connections[alias], "SELECT 1 FROM fences_heldbucket WHERE number = -1")
    except (OperationalError, InterfaceError):
        return True
    return False
