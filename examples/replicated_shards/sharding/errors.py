"""Errors of a command, each in one line."""

from contextlib import ExitStack, contextmanager

from django.core.management import CommandError
from django.db import DatabaseError, connections

from sharding.buckets import MapIncomplete
from sharding.scatter import ShardDown


@contextmanager
def errors_in_one_line(alias=None):
    """Turn an error of a database, of the map, or of a gather into a CommandError.

    The line names the database ``alias``. Without ``alias``, it names the database whose query
    failed, or for a failed COMMIT the last database that was queried. Connect to the databases
    first, as ``check_migrated()`` does.
    """
    asked, failed = alias, {}

    def note(execute, sql, params, many, context):
        nonlocal asked
        asked = context["connection"].alias
        try:
            return execute(sql, params, many, context)
        except DatabaseError as error:
            failed[error] = context["connection"].alias  # other databases may be queried after it
            raise

    with ExitStack() as stack:
        if alias is None:
            for connection in connections.all():
                stack.enter_context(connection.execute_wrapper(note))
        try:
            yield
        except (MapIncomplete, ShardDown) as error:
            raise CommandError(" ".join(str(error).split())) from error
        except DatabaseError as error:
            asked = failed.get(error, asked)
            name = connections[asked].settings_dict["NAME"]
            raise CommandError(
                f'Database "{asked}" ({name}): {" ".join(str(error).split())}'
            ) from error


def some(items):
    """Return the first five, for a message."""
    return ", ".join(map(str, items[:5])) + (", …" if len(items) > 5 else "")
