"""The SQL of an overlaid table.

====================  ==========================================================================
where                 what
====================  ==========================================================================
``snapshot.<table>``  production's rows, as they were: attached, and read-only
``overlay_<table>``   the local rows: the model's columns; ``gone``, for a row deleted here; and
                      ``base_<column>``s, the snapshot's row as it was when the local one was first
                      touched, or NULLs for a row that was added here
``<table>``           a view of both. It is TEMP: of one connection, in no file. It hides what has
                      its name in the other two, as SQLite looks there last
====================  ==========================================================================

Each trigger changes one row of one table, once: that is how ``backend`` comes to know how many rows
a statement changed.
"""

from functools import cached_property

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from django.db.models import CheckConstraint

# Keys of rows that are added here start above this, and the snapshot's are below. Up to 2**53 a
# number is the same in JavaScript.
LAST_SNAPSHOT_KEY = 2**52


def overlaid_models():
    """Return the models that the setting OVERLAID names, in its order.

    Raises ImproperlyConfigured where it names what is no model.
    """
    models = []
    for label in settings.OVERLAID:
        try:
            models.append(apps.get_model(label))
        except (LookupError, ValueError):
            raise ImproperlyConfigured(
                f'The setting OVERLAID names "{label}", which is no model. '
                'Name models as in "auth.User".'
            ) from None
    return models


def is_overlaid(model):
    return model._meta.concrete_model in overlaid_models()


def quote(name):
    return '"' + name.replace('"', '""') + '"'


def literal(text):
    return text.replace("'", "''")


def listing(names, row="", prefix=""):
    """Return columns for SQL; of a ``row``, such as "NEW.", and with a prefix to their names."""
    return ", ".join(row + quote(prefix + name) for name in names)


class OverlaidTable:
    """Writes the SQL for a model, on a connection of Django's."""

    def __init__(self, model, connection):
        self.model = model
        self.connection = connection
        self.name = model._meta.db_table
        self.fields = model._meta.local_concrete_fields
        self.columns = [field.column for field in self.fields]
        self.key = quote(model._meta.pk.column)
        self.snapshot = f"snapshot.{quote(self.name)}"
        self.overlay = quote(f"overlay_{self.name}")

    def rows(self, sql, *params):
        return self.connection.connection.execute(sql, params).fetchall()

    def columns_in(self, schema, table):
        return [
            name for (name,) in self.rows("SELECT name FROM pragma_table_info(?, ?)", table, schema)
        ]

    @property
    def is_made(self):
        """Whether the local file has the table, with all of the model's columns."""
        return set(self.columns) <= set(self.columns_in("main", f"overlay_{self.name}"))

    @property
    def not_up_to_date(self):
        migrate = f"python manage.py migrate --database={self.connection.alias}"
        return f"table overlay_{self.name} is not up to date: run {migrate}"

    def check(self):
        """Raise OperationalError where the snapshot can't be overlaid."""
        there = self.columns_in("snapshot", self.name)
        lacking = [column for column in self.columns if column not in there]
        if lacking:
            what = (
                f"column {', '.join(lacking)} in table {self.name}"
                if there
                else f"table {self.name}"
            )
            raise OperationalError(
                f"The snapshot has no {what}. Make it anew; or, where production has none either, "
                f"shadow the table whole: name {self.model._meta.label} in the setting SHADOWED, "
                "and no longer in OVERLAID."
            )

    @cached_property
    def indexes(self):
        """The snapshot's indexes, less those with a condition or an expression.

        A list of pairs: whether it is unique, and the columns.
        """
        found = []
        for index, unique in self.rows(
            "SELECT name, \"unique\" FROM pragma_index_list(?, 'snapshot') "
            "WHERE NOT partial AND origin <> 'pk'",
            self.name,
        ):
            names = self.rows(
                "SELECT name FROM pragma_index_info(?, 'snapshot') ORDER BY seqno", index
            )
            if (None,) not in names:
                found.append((unique, [name for (name,) in names]))
        return found

    # The table, made by `migrate`.

    def definition(self, field, prefix=""):
        parameters = field.db_parameters(self.connection)
        parts = [quote(prefix + field.column), parameters["type"]]
        if parameters.get("collation"):
            parts.append(f"COLLATE {quote(parameters['collation'])}")
        if not prefix and parameters["check"]:
            parts.append(f"CHECK ({parameters['check']})")
        if not prefix and field.primary_key:
            # A key that was given once is not given again.
            autoincrement = " AUTOINCREMENT" if self.gives_keys else ""
            parts.append(f"NOT NULL PRIMARY KEY{autoincrement}")
        return " ".join(parts)

    def make(self):
        """Return the statements that make the table, or that add the columns which it lacks."""
        there = self.columns_in("main", f"overlay_{self.name}")
        if there:
            return [
                statement
                for field in self.fields
                if field.column not in there
                for statement in self.add(field)
            ]
        columns = [self.definition(field) for field in self.fields]
        columns.append('"gone" bool NOT NULL DEFAULT 0')
        columns += [self.definition(field, "base_") for field in self.fields]
        editor = self.connection.schema_editor()
        columns += [
            constraint.constraint_sql(self.model, editor)
            for constraint in self.model._meta.constraints
            if isinstance(constraint, CheckConstraint)
        ]
        # The same as the snapshot's, or a query would have one for a part of the rows only.
        indexes = [
            f"CREATE INDEX main.{quote(f'overlay_{self.name}_{n}')} "
            f"ON {self.overlay} ({listing(names)})"
            for n, (_, names) in enumerate(self.indexes)
        ]
        return [f"CREATE TABLE main.{self.overlay} ({', '.join(columns)})", *indexes]

    def add(self, field):
        """Yield what adds a column that is new in the snapshot, with the snapshot's values."""
        for prefix in "", "base_":
            yield f"ALTER TABLE main.{self.overlay} ADD COLUMN {self.definition(field, prefix)}"
            yield (
                f"UPDATE main.{self.overlay} SET {quote(prefix + field.column)} = "
                f"(SELECT t.{quote(field.column)} FROM {self.snapshot} AS t "
                f"WHERE t.{self.key} = {self.overlay}.{self.key})"
            )

    # The view and its triggers, made by each connection.

    @property
    def gives_keys(self):
        return self.model._meta.auto_field is self.model._meta.pk

    @property
    def last_key(self):
        """An expression: the last key that was given to a row added here."""
        return (
            f"(SELECT max({LAST_SNAPSHOT_KEY}, ifnull(max(seq), 0)) FROM main.sqlite_sequence "
            f"WHERE name = '{literal(f'overlay_{self.name}')}')"
        )

    def hidden(self, alias):
        """A condition: there is a local row with the key of the snapshot's row."""
        same = f"o.{self.key} = {alias}.{self.key}"
        return f"EXISTS (SELECT 1 FROM main.{self.overlay} AS o WHERE {same})"

    def select(self, columns):
        return (
            f"SELECT {listing(columns, 't.')} FROM {self.snapshot} AS t "
            f"WHERE NOT {self.hidden('t')} "
            f"UNION ALL SELECT {listing(columns)} FROM main.{self.overlay} WHERE NOT gone"
        )

    def clashes(self, event):
        """Return what a plain table would refuse: pairs of a condition and SQLite's message.

        Beneath the view no table has all the rows, so no constraint of a table can see to it.
        """

        def of(columns):
            return ", ".join(f"{self.name}.{column}" for column in columns)

        view, key = quote(self.name), self.key
        found = [
            (
                f"NEW.{quote(field.column)} IS NULL",
                f"NOT NULL constraint failed: {of([field.column])}",
            )
            for field in self.fields
            if not field.null and not field.primary_key
        ]
        if event == "INSERT":
            found.append(
                (
                    f"EXISTS (SELECT 1 FROM {view} AS v WHERE v.{key} = NEW.{key})",
                    f"UNIQUE constraint failed: {of([self.model._meta.pk.column])}",
                )
            )
        else:
            found.append(
                (
                    f"NEW.{key} IS NOT OLD.{key}",
                    f"the key of an overlaid row can't be changed: {view}",
                )
            )
        for unique, columns in self.indexes:
            if unique:
                same = " AND ".join(f"v.{quote(name)} = NEW.{quote(name)}" for name in columns)
                clash = f"EXISTS (SELECT 1 FROM {view} AS v WHERE {same}%s)"
                if event == "INSERT":
                    clash %= ""
                else:
                    moved = " OR ".join(
                        f"NEW.{quote(name)} IS NOT OLD.{quote(name)}" for name in columns
                    )
                    clash = f"({moved}) AND {clash % f' AND v.{key} <> NEW.{key}'}"
                found.append((clash, f"UNIQUE constraint failed: {of(columns)}"))
        return found

    def refuse(self, event):
        """A trigger's first statements: they end its statement with SQLite's own error."""
        return "".join(
            f"SELECT RAISE(ABORT, '{literal(message)}') WHERE {clash}; "
            for clash, message in self.clashes(event)
        )

    def put(self, row, gone, base=None, where="true"):
        """A trigger's statement: it writes a local row, and the base if it is the first time."""
        names = listing([*self.columns, "gone"])
        values = f"{row}, {gone}"
        if base:
            names += f", {listing(self.columns, prefix='base_')}"
            values += f", {base}"
        updates = ", ".join(
            f"{quote(column)} = excluded.{quote(column)}" for column in [*self.columns, "gone"]
        )
        return (
            f"INSERT INTO {self.overlay} ({names}) SELECT {values} WHERE {where} "
            f"ON CONFLICT ({self.key}) DO UPDATE SET {updates}; "
        )

    def whole(self, columns):
        """Return a SELECT of some columns of all rows, in the fastest form to read them all.

        The local keys are few beside the snapshot's. It takes the gaps between them, one by one,
        where the view looks for a local row at each of the snapshot's. For integer keys.
        """
        return (
            f"SELECT {listing(columns, 't.')} FROM (SELECT {self.key} AS above, "
            f"lead({self.key}, 1, {2**63 - 1}) OVER (ORDER BY {self.key}) AS below "
            f"FROM (SELECT {-(2**63)} AS {self.key} "
            f"UNION ALL SELECT {self.key} FROM main.{self.overlay})) AS gap "
            f"CROSS JOIN {self.snapshot} AS t "
            f"ON t.{self.key} > gap.above AND t.{self.key} < gap.below "
            f"UNION ALL SELECT {listing(columns)} FROM main.{self.overlay} WHERE NOT gone"
        )

    def count(self, where=""):
        """An expression: how many rows there are, of those that a WHERE clause takes.

        Without a look for a local row at each of the snapshot's: there are few local ones. It has
        the clause, and so its parameters, three times.
        """
        name = quote(self.name)
        return (
            f"(SELECT COUNT(*) FROM {self.snapshot} AS {name}{where}) "
            f"- (SELECT COUNT(*) FROM (SELECT {self.key} AS hidden FROM main.{self.overlay}) AS o "
            f"CROSS JOIN {self.snapshot} AS {name} ON {name}.{self.key} = o.hidden{where}) "
            f"+ (SELECT COUNT(*) FROM (SELECT {listing(self.columns)} FROM main.{self.overlay} "
            f"WHERE NOT gone) AS {name}{where})"
        )

    def views(self):
        """Yield the statements that make the view, another for INSERT OR IGNORE, and triggers."""
        name = quote(self.name)
        or_ignore = quote(f"{self.name} or ignore")
        is_made = self.is_made
        select = self.select(self.columns)
        if not is_made:  # nothing is in it, so all is in the snapshot
            select = f"SELECT {listing(self.columns)} FROM {self.snapshot}"
        yield f"CREATE TEMP VIEW {name} AS {select}"
        yield f"CREATE TEMP VIEW {or_ignore} AS SELECT * FROM {name}"

        old = listing(self.columns, "OLD.")
        new = listing(self.columns, "NEW.")
        added = new
        if self.gives_keys:  # the ORM gives keys of its own accord: this is for SQL by hand
            added = added.replace(f"NEW.{self.key}", f"ifnull(NEW.{self.key}, {self.last_key} + 1)")
        nothing = " AND ".join(f"NOT ({clash})" for clash, _ in self.clashes("INSERT"))
        # A row that was added here leaves nothing behind; any other, a row that says it is gone.
        ours = (
            f"{self.key} = OLD.{self.key} AND {quote(f'base_{self.model._meta.pk.column}')} IS NULL"
        )
        delete = (
            self.put(old, 1, old, f"NOT EXISTS (SELECT 1 FROM main.{self.overlay} WHERE {ours})")
            + f"DELETE FROM {self.overlay} WHERE {ours}; "
        )
        for view, event, body in [
            (name, "INSERT", self.refuse("INSERT") + self.put(added, 0)),
            (name, "UPDATE", self.refuse("UPDATE") + self.put(new, 0, old)),
            (name, "DELETE", delete),
            (or_ignore, "INSERT", self.put(added, 0, where=nothing)),
        ]:
            if not is_made:
                body = f"SELECT RAISE(ABORT, '{literal(self.not_up_to_date)}');"
            trigger = quote(f"{view[1:-1]} {event}")
            yield f"CREATE TEMP TRIGGER {trigger} INSTEAD OF {event} ON {view} BEGIN {body}END"

    def drop(self):
        """Yield the statements that take the views away, and their triggers with them."""
        for view in f"{self.name} or ignore", self.name:
            yield f"DROP VIEW IF EXISTS temp.{quote(view)}"
