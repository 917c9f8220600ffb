"""A replica that dies under a query: its primary answers it instead."""

import re

from django.db import Error, connections

from replicas import health

SELECT = re.compile(r"[\s(]*SELECT\b", re.IGNORECASE)
# PostgreSQL: "canceling statement due to conflict with recovery", with a row that is being read or
# with a lock. The replica is well, and has to apply what the query was in the way of.
CONFLICT = {"40001", "40P01"}
# A table or column that came with a migration, which the replica has not applied: on PostgreSQL, on
# MariaDB, on SQLite.
MISSING = {"42P01", "42703", 1146, 1054}
MISSING_ON_SQLITE = re.compile("no such (table|column)")


def fail_over(execute, sql, params, many, context):
    """Wrap the execution of a query on a replica.

    When the router chose the replica, it was fit, but that is a moment ago. A query that it cannot
    answer, being gone, or restarted, or at odds with what it has to apply, is sent to the primary.
    So is one that ``using()`` sent to the replica: it looks the same from here.

    The error of a replica that still answers is the caller's: what the replica's user may not read,
    or not for so long, the primary's user might.
    """
    replica = context["connection"]
    try:
        return execute(sql, params, many, context)
    except Error as error:
        # A write to a replica is a mistake, which must not succeed elsewhere. A transaction on a
        # replica is there to see one state of it, and the primary's is another.
        if not SELECT.match(str(sql)) or replica.in_atomic_block:
            raise
        code = code_of(error)
        if code not in CONFLICT and not is_missing(error, code) and health.answers(replica):
            raise
        failure = error
    cursor = connections[replica.settings_dict["TEST"]["MIRROR"]].cursor()
    result = cursor.execute(sql, params)
    # The primary could answer: so the fault was the replica's, and not the query's.
    if code not in CONFLICT:
        health.skip(replica.alias, failure)
    # The caller goes on to fetch from the replica's cursor, which wraps that of the driver.
    context["cursor"].cursor = cursor.cursor
    return result


def code_of(error):
    """Return the SQLSTATE that PostgreSQL gave, or MariaDB's number, or None."""
    cause = error.__cause__
    for name in ("sqlstate", "pgcode"):  # of psycopg, and of psycopg2
        if hasattr(cause, name):
            return getattr(cause, name)
    return error.args[0] if error.args and isinstance(error.args[0], int) else None


def is_missing(error, code):
    return code in MISSING or MISSING_ON_SQLITE.match(str(error)) is not None
