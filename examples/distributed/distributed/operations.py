"""The operations of migrations."""

from django.conf import settings
from django.core.management import CommandError
from django.db import DatabaseError, connections, transaction
from django.db.migrations.operations.base import Operation

from distributed.engines import ENGINES, add_guard


class Distribute(Operation):
    """Let the tables of an app have their rows on the nodes. The models do not change.

    The arguments name for each model, parents first, the field that says on which node a row is:
    the primary key, or the foreign key to the parent: ``Distribute(Author="id", Note="author")``.
    So the rows of a parent and its children are on the same node.

    On a node, this adds a constraint, by which the node refuses rows of other nodes. On the
    coordinator it replaces the tables, which must be empty. In other databases, and if
    ``settings.NODES`` is empty, it does nothing.
    """

    reversible = False

    def __init__(self, **fields):
        self.fields = fields

    def deconstruct(self):
        return type(self).__name__, [], self.fields

    def state_forwards(self, app_label, state):
        pass

    def describe(self):
        return f"Distribute {', '.join(self.fields)}"

    def database_forwards(self, app_label, editor, from_state, to_state):
        models = [(to_state.apps.get_model(app_label, name), f) for name, f in self.fields.items()]
        pairs = [(model, model._meta.get_field(field)) for model, field in models]
        alias = editor.connection.alias
        if alias in settings.NODES:
            node = editor.connection
            for model, field in pairs:
                ENGINES[node.vendor].prepare_node(editor, model, field)
                editor.execute(add_guard(node, model, field))
        elif alias == settings.COORDINATOR and settings.NODES:
            self.prepare(editor.connection)
            for model, _ in pairs:
                self.check(model, alias)
            for model, field in reversed(pairs):  # the table with a foreign key is dropped first
                ENGINES[editor.connection.vendor].distribute(editor, model, field)

    def database_backwards(self, app_label, editor, from_state, to_state):
        raise NotImplementedError("reversible is False")

    def prepare(self, coordinator):
        """Make the nodes known. Raise CommandError if that needs an administrator."""
        engine, unknown = ENGINES[coordinator.vendor], settings.NODES
        try:
            if not (unknown := engine.unknown(coordinator)):
                return
            with transaction.atomic(using=coordinator.alias), coordinator.cursor() as cursor:
                for statement in engine.prepare(coordinator):
                    cursor.execute(statement)
        except DatabaseError as error:
            raise CommandError(
                f"The coordinator does not know the nodes {', '.join(unknown)}: "
                f"{' '.join(str(error).split())} As an administrator of the server, execute what "
                "this command prints: python manage.py sqlnodes"
            ) from error

    def check(self, model, alias):
        """Raise CommandError if the table has rows, or a node doesn't have the table."""
        if model._default_manager.using(alias).exists():
            raise CommandError(
                f"{model._meta.db_table} has rows in {alias}, and only an empty table can be "
                "distributed. Move the rows to the nodes with takeover."
            )
        for node in settings.NODES:
            if model._meta.db_table not in connections[node].introspection.table_names():
                raise CommandError(
                    f"{node} has no table {model._meta.db_table}. First run: python manage.py "
                    f"migrate {model._meta.app_label} --database={node}"
                )


class OnNodes(Operation):
    """An operation for the nodes only, such as an index, or a unique constraint."""

    def __init__(self, operation):
        self.operation = operation
        self.reversible = operation.reversible

    def state_forwards(self, app_label, state):
        self.operation.state_forwards(app_label, state)

    def database_forwards(self, app_label, editor, from_state, to_state):
        if editor.connection.alias != settings.COORDINATOR or not settings.NODES:
            self.operation.database_forwards(app_label, editor, from_state, to_state)

    def database_backwards(self, app_label, editor, from_state, to_state):
        if editor.connection.alias != settings.COORDINATOR or not settings.NODES:
            self.operation.database_backwards(app_label, editor, from_state, to_state)

    def describe(self):
        return f"{self.operation.describe()}, on the nodes"
