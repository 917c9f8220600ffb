from contextlib import ExitStack, contextmanager

from django.core.management import CommandError
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, router


@contextmanager
def database_errors_in_one_line(*models):
    """Run a command's block; a database that fails it raises CommandError, naming the alias.

    A table of ``models`` that is missing is found before the block starts.
    """
    alias = None

    def note_alias(execute, sql, params, many, context):
        nonlocal alias
        alias = context["connection"].alias
        return execute(sql, params, many, context)

    try:
        with ExitStack() as stack:
            for model in models:
                alias = router.db_for_write(model)
                connection = connections[alias]
                if model._meta.db_table not in connection.introspection.table_names():
                    migrate = "python manage.py migrate"
                    if alias != DEFAULT_DB_ALIAS:
                        # With the app named: without, Django would note there that it had
                        # migrated all the others too.
                        migrate += f" --database={alias} {model._meta.app_label}"
                    raise CommandError(
                        f'Database "{alias}" has no table {model._meta.db_table}. Run: {migrate}'
                    )
                stack.enter_context(connection.execute_wrapper(note_alias))
            yield
    except DatabaseError as error:
        # The last database that was asked, be it for a connection, a query or a COMMIT.
        name = connections[alias].settings_dict["NAME"]
        raise CommandError(
            f'Database "{alias}" ({name}): {" ".join(str(error).split())}'
        ) from error
