"""``RunPython`` and ``RunSQL``, for which Django passes no model to the router."""

import ast
import inspect
from textwrap import dedent

from django.apps import apps
from django.core.checks import Warning
from django.db.migrations import RunPython, RunSQL, SeparateDatabaseAndState
from django.db.migrations.loader import MigrationLoader

from multidb_checks.answers import Routing, ask_migrate, hints_of, makes_table, quoted, together
from multidb_checks.relations import is_own
from multidb_checks.routing import group

#: A function with one of these names chooses a database itself.
ALIAS = {"schema_editor", "using", "alias", "db_alias", "db_manager", "database", "connections"}
#: A function with one of these names sends queries.
QUERIES = {"objects", "_default_manager", "_base_manager", "call_command", "connection"}


def data_operations(routing):
    """Yield each ``RunPython`` and ``RunSQL`` of the installed apps, with its migration.

    With one database nothing can go wrong, so nothing is yielded.
    """
    if len(routing.databases) < 2:
        return
    loader = MigrationLoader(None, load=False, ignore_no_migrations=True)
    try:
        loader.load_disk()
    except Exception:
        return  # a migration cannot be imported: `migrate` reports it
    for migration in loader.disk_migrations.values():
        for operation in flat(migration.operations):
            if isinstance(operation, RunPython | RunSQL):
                yield migration, operation


def flat(operations):
    for operation in operations:
        if isinstance(operation, SeparateDatabaseAndState):
            yield from flat(operation.database_operations)
        else:
            yield operation


def check_by_model(**kwargs):
    """Check that the router stops data migrations where it allows no table of their app."""
    routing = Routing()
    found = []
    for migration, operation in data_operations(routing):
        models = [
            m for m in apps.get_app_config(migration.app_label).get_models() if makes_table(m)
        ]
        for alias in routing.databases:
            if (
                models
                and ask_migrate(alias, migration.app_label, **operation.hints)[0]
                and not any(ask_migrate(alias, m._meta.app_label, **hints_of(m))[0] for m in models)
            ):
                found.append((alias, str(migration)))
    for alias, names in group(found).items():
        yield Warning(
            f'allow_migrate() keeps the models of these migrations out of "{alias}", but not their '
            f"RunPython and RunSQL: {together(dict.fromkeys(names))}. Django passes no model_name "
            "for these.",
            hint="Decide by app_label in allow_migrate(). Or pass hints to the operation, and "
            "decide by them.",
            id="multidb.W013",
        )


def check_alias(**kwargs):
    """Check that each function of ``RunPython`` sends its queries to the migrated database."""
    routing = Routing()
    for migration, operation in data_operations(routing):
        if not isinstance(operation, RunPython) or not is_own(migration.__module__):
            continue
        databases = {
            alias
            for alias in routing.databases
            if ask_migrate(alias, migration.app_label, **operation.hints)[0]
        }
        if len(databases) < 2:
            continue
        for function in filter(None, (operation.code, operation.reverse_code)):
            if forgets_alias(function):
                yield Warning(
                    f"{function.__name__}() of the migration {migration} is run in "
                    f"{quoted(databases)}, but does not mention schema_editor. So its queries go "
                    "to the databases that the routers return.",
                    hint="Write Model.objects.using(schema_editor.connection.alias) in each query. "
                    "Or allow the migration in one database only.",
                    id="multidb.W014",
                )


def forgets_alias(function):
    """Return whether the source of a function has queries, but nothing that names a database."""
    try:
        source = dedent(inspect.getsource(inspect.unwrap(function)))
        nodes = ast.walk(ast.parse(source))
    except (OSError, SyntaxError, TypeError, ValueError):
        return False  # the source cannot be read
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    definition = next((node for node in nodes if isinstance(node, kinds)), None)
    if definition is None:
        return False
    first, second, *_ = [*(arg.arg for arg in definition.args.args), None, None]
    names = set()
    for node in ast.walk(definition):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.keyword):
            names.add(node.arg)
    return bool(names & {first, *QUERIES}) and not names & {second, *ALIAS}
