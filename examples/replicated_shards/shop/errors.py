from contextlib import ExitStack, contextmanager

from django.core.management import CommandError
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, router


@contextmanager
def database_errors_in_one_line(*models):
    """Run a block of a command, and turn a database error into a CommandError with the alias.

    If a table of ``models`` is missing, raise the CommandError before the block starts.
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
                        # Name the app. Without its name, Django would record the migrations of all
                        # other apps as applied there, too.
                        migrate += f" --database={alias} {model._meta.app_label}"
                    raise CommandError(
                        f'Database "{alias}" has no table {model._meta.db_table}. Run: {migrate}'
                    )
                stack.enter_context(connection.execute_wrapper(note_alias))
            yield
    except DatabaseError as error:
        # ``alias`` is the database that was used last: for a connection, a query or a COMMIT.
        name = connections[alias].settings_dict["NAME"]
        raise CommandError(
            f'Database "{alias}" ({name}): {" ".join(str(error).split())}'
        ) from error
