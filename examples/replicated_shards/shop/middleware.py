from collections import Counter
from contextlib import ExitStack
from time import perf_counter

from django.db import connections


class QueryLog:
    """The queries of one request, in order.

    Each is a dict of the ``alias`` of the database that answered, the ``milliseconds`` that it
    took, and its ``sql``, without parameters.
    """

    def __init__(self):
        self.queries = []

    def note(self, execute, sql, params, many, context):
        """Wrap the execution of a query, as ``connection.execute_wrapper()`` asks."""
        start = perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            self.queries.append(
                {
                    "alias": context["connection"].alias,
                    "milliseconds": (perf_counter() - start) * 1000,
                    "sql": sql,
                }
            )

    @property
    def counts(self):
        """The number of queries of each alias, in the order of their first queries."""
        # A dict, for the template: {{ counts.items }} of a Counter is the count of "items", 0.
        return dict(Counter(query["alias"] for query in self.queries))


class QueryLogMiddleware:
    """Give each request a ``query_log``, which ``base.html`` shows at the foot of the page."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        request.query_log = QueryLog()
        with ExitStack() as stack:
            # A thread has connections of its own, so this hears no other request's queries.
            for connection in connections.all():
                stack.enter_context(connection.execute_wrapper(request.query_log.note))
            return self.get_response(request)
