"""Which tables are distributed, and what a node has of them."""

from typing import NamedTuple

from django.apps import apps
from django.conf import settings
from django.db import models
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from distributed.engines import guard, guard_name
from distributed.operations import Distribute


class Table(NamedTuple):
    model: type[models.Model]
    field: models.Field  # its value decides on which node a row is
    migration: tuple[str, str]  # the app's label and the name of the migration with ``Distribute``


def distributed():
    """Return the tables that the migrations of this project distribute, parents first."""
    loader = MigrationLoader(None)
    found = []
    for key, migration in loader.disk_migrations.items():
        for operation in migration.operations:
            if isinstance(operation, Distribute):
                for name, field in operation.fields.items():
                    model = apps.get_model(key[0], name)
                    found.append(Table(model, model._meta.get_field(field), key))
    return found


def lacking(connection):
    """Return the migrations of ``DISTRIBUTED_APPS`` that a node lacks: ``app.0001_initial``."""
    executor = MigrationExecutor(connection)
    leaves = [n for n in executor.loader.graph.leaf_nodes() if n[0] in settings.DISTRIBUTED_APPS]
    plan = executor.migration_plan(leaves)
    return [str(migration) for migration, _ in plan if migration.app_label in dict(leaves)]


def has_guard(connection, model):
    """Return whether a node refuses rows of other nodes."""
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, model._meta.db_table)
    return guard_name(model) in found


def rows(connection, table):
    """Return how many rows a node has in a table, and how many of these belong on other nodes."""
    name = connection.ops.quote_name(table.model._meta.db_table)
    here = guard(connection, table.model, table.field)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*), COUNT(CASE WHEN NOT ({here}) THEN 1 END) FROM {name}")
        return cursor.fetchone()
