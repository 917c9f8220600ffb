from collections import Counter
from contextlib import ExitStack
from time import perf_counter

from django.db import connections


class QueryLog:
    """The queries of one request, in order.

    Each query is a dict: the ``alias`` of the database, the ``milliseconds`` that the query took,
    and its ``sql`` without the parameters.
    """

    def __init__(self):
        self.queries = []

    def note(self, execute, sql, params, many, context):
        """Run a query and add it to the log. This is a wrapper for ``execute_wrapper()``."""
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
        """The number of queries on each alias, in the order of the first query on each."""
        # The template needs a dict: {{ counts.items }} of a Counter is the count of "items", 0.
        return dict(Counter(query["alias"] for query in self.queries))


class QueryLogMiddleware:
    """Give each request a ``query_log``, which ``base.html`` shows at the foot of the page."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        request.query_log = QueryLog()
        with ExitStack() as stack:
            # Each thread has its own connections, so the log has no queries of other requests.
            for connection in connections.all():
                stack.enter_context(connection.execute_wrapper(request.query_log.note))
            return self.get_response(request)
