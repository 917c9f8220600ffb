"""If a query fails because its replica fails, the primary answers the query."""

import re

from django.db import Error, connections

from replicas import health

SELECT = re.compile(r"[\s(]*SELECT\b", re.IGNORECASE)
# PostgreSQL: "canceling statement due to conflict with recovery". The replica works, but the query
# read a row or held a lock that prevented the replica from applying the log.
CONFLICT = {"40001", "40P01"}
# A missing table or column, of a migration that the replica has not applied yet: on PostgreSQL, on
# MariaDB, and on SQLite.
MISSING = {"42P01", "42703", 1146, 1054}
MISSING_ON_SQLITE = re.compile("no such (table|column)")


def fail_over(execute, sql, params, many, context):
    """Wrap the execution of a query on a replica.

    The replica worked when the router chose it, but it may have failed since. A query is sent to
    the primary if the replica does not answer any more, or cancels the query because of a conflict
    with its recovery, or lacks the table or column. This includes queries that ``using()`` sent to
    the replica, because the wrapper cannot tell them from others.

    Any other error of a replica that still answers is raised. For example, the user of the replica
    may lack a permission, or have a time limit, that the primary's user does not have.
    """
    replica = context["connection"]
    try:
        return execute(sql, params, many, context)
    except Error as error:
        # A write to a replica is a mistake, and must not succeed on the primary. A transaction on a
        # replica must see one state of the data, and the state of the primary is a different one.
        if not SELECT.match(str(sql)) or replica.in_atomic_block:
            raise
        code = code_of(error)
        if code not in CONFLICT and not is_missing(error, code) and health.answers(replica):
            raise
        failure = error
    cursor = connections[replica.settings_dict["TEST"]["MIRROR"]].cursor()
    result = cursor.execute(sql, params)
    # The primary answered, so the replica was the cause of the error, not the query.
    if code not in CONFLICT:
        health.skip(replica.alias, failure)
    # The caller fetches from the cursor of the replica, which wraps a cursor of the driver.
    context["cursor"].cursor = cursor.cursor
    return result


def code_of(error):
    """Return PostgreSQL's SQLSTATE, or MariaDB's error number, or None."""
    cause = error.__cause__
    for name in ("sqlstate", "pgcode"):  # of psycopg, and of psycopg2
        if hasattr(cause, name):
            return getattr(cause, name)
    return error.args[0] if error.args and isinstance(error.args[0], int) else None


def is_missing(error, code):
    return code in MISSING or MISSING_ON_SQLITE.match(str(error)) is not None
