"""A replica that dies under a query: its primary answers it instead."""

import re

from django.db import Error, connections

from replicas import health

SELECT = re.compile(r"[\s(]*SELECT\b", re.IGNORECASE)


def fail_over(execute, sql, params, many, context):
    """Wrap the execution of a query on a replica.

    When the router chose the replica, it was fit, but that is a moment ago. A query that it cannot
    answer, being gone, or restarted, or at odds with what it has to apply, is sent to the primary.
    So is one that ``using()`` sent to the replica: it looks the same from here.
    """
    replica = context["connection"]
    try:
        return execute(sql, params, many, context)
    except Error as error:
        # A write to a replica is a mistake, which must not succeed elsewhere. A transaction on a
        # replica is there to see one state of it, and the primary's is another.
        if not SELECT.match(str(sql)) or replica.in_atomic_block:
            raise
        failure = error
    cursor = connections[replica.settings_dict["TEST"]["MIRROR"]].cursor()
    result = cursor.execute(sql, params)
    # The primary could answer: so the fault was the replica's, and not the query's.
    health.skip(replica.alias, failure)
    # The caller goes on to fetch from the replica's cursor, which wraps that of the driver.
    context["cursor"].cursor = cursor.cursor
    return result
