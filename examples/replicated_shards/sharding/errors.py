from contextlib import ExitStack, contextmanager

from django.conf import settings
from django.core.management import CommandError
from django.db import DatabaseError, connections

from sharding.buckets import Bucket
from sharding.gather import ShardDown
from sharding.schema import check_migrated
from shop.errors import database_errors_in_one_line


@contextmanager
def shard_errors_in_one_line(*models):
    """Run a command's block; a database that fails it raises CommandError, naming the alias.

    Tables of ``models``, which are in ``default``, and of the shards, that are missing are found
    before the block starts.
    """
    alias = None

    def note_alias(execute, sql, params, many, context):
        nonlocal alias
        alias = context["connection"].alias
        return execute(sql, params, many, context)

    with database_errors_in_one_line(Bucket, *models), ExitStack() as stack:
        for shard in settings.SHARDS:
            check_migrated(shard)
        for connection in connections.all():
            stack.enter_context(connection.execute_wrapper(note_alias))
        try:
            yield
        except ShardDown as error:
            raise CommandError(str(error)) from error
        except DatabaseError as error:
            # The last database that was asked, be it for a query or a COMMIT.
            raise CommandError(f'Database "{alias}": {" ".join(str(error).split())}') from error
