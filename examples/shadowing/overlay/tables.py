"""The SQL of an overlaid table.

====================  ==========================================================================
name                  content
====================  ==========================================================================
``snapshot.<table>``  the rows of production when the snapshot was made; attached read-only
``overlay_<table>``   the local rows. Its columns are those of the model; ``overlay:gone``, true for
                      a row that was deleted here; and ``base:<column>``, the snapshot's value when
                      the row was first changed here, or NULL for a row that was added here
``<table>``           a view of both. It is TEMP: only one connection has it, and no file. SQLite
                      looks for a name in TEMP first, so it finds the view before the snapshot's
                      table of the same name
====================  ==========================================================================

Each trigger changes one row of one table, and changes it once. So ``backend`` can count how many
rows a statement changed.
"""

from functools import cached_property

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from django.db.models import CheckConstraint

# Keys of rows that are added here are higher than this number, and the snapshot's keys are lower.
# Integers up to 2**53 are exact in JavaScript.
LAST_SNAPSHOT_KEY = 2**52

# With a colon, because Django puts no colon in the name of a column.
BASE, GONE = "base:", '"overlay:gone"'


def overlaid_models():
    """Return the models that the setting OVERLAID names, in its order.

    Raises ImproperlyConfigured if a name is not that of a model.
    """
    models = []
    for label in settings.OVERLAID:
        try:
            models.append(apps.get_model(label))
        except (LookupError, ValueError):
            raise ImproperlyConfigured(
                f'The setting OVERLAID names "{label}", which is not a model. '
                'Name models, such as "auth.User".'
            ) from None
    return models


def is_overlaid(model):
    return model._meta.concrete_model in overlaid_models()


def quote(name):
    return '"' + name.replace('"', '""') + '"'


def literal(text):
    return text.replace("'", "''")


def listing(names, row="", prefix=""):
    """Return a list of columns for SQL, with a ``row`` such as "NEW.", and a prefix of names."""
    return ", ".join(row + quote(prefix + name) for name in names)


class OverlaidTable:
    """Writes the SQL for a model, on one of Django's connections."""

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
        """Whether the local file has the table, with all of its columns."""
        names = {prefix + column for prefix in ("", BASE) for column in self.columns}
        return names <= set(self.columns_in("main", f"overlay_{self.name}"))

    @property
    def not_up_to_date(self):
        migrate = f"python manage.py migrate --database={self.connection.alias}"
        return f"table overlay_{self.name} is not up to date: run {migrate}"

    def check(self):
        """Raise OperationalError if the snapshot lacks the table, or one of its columns."""
        there = self.columns_in("snapshot", self.name)
        lacking = [column for column in self.columns if column not in there]
        if lacking:
            what = (
                f"column {', '.join(lacking)} in table {self.name}"
                if there
                else f"table {self.name}"
            )
            raise OperationalError(
                f"The snapshot has no {what}. Make a new snapshot. If production lacks it too, "
                f"move {self.model._meta.label} from the setting OVERLAID to the setting SHADOWED: "
                "then the whole table is local."
            )

    @cached_property
    def indexes(self):
        """The snapshot's indexes, without those that have a condition or an expression.

        This is a list of pairs: whether the index is unique, and its columns.
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

    # The table of the local rows: `migrate` makes it.

    def definition(self, field, prefix=""):
        parameters = field.db_parameters(self.connection)
        parts = [quote(prefix + field.column), parameters["type"]]
        if parameters.get("collation"):
            parts.append(f"COLLATE {quote(parameters['collation'])}")
        if not prefix and parameters["check"]:
            parts.append(f"CHECK ({parameters['check']})")
        if not prefix and field.primary_key:
            # SQLite does not give a key again after its row was deleted.
            autoincrement = " AUTOINCREMENT" if self.gives_keys else ""
            parts.append(f"NOT NULL PRIMARY KEY{autoincrement}")
        return " ".join(parts)

    def make(self):
        """Return the statements that make the table, or that add the missing columns."""
        there = self.columns_in("main", f"overlay_{self.name}")
        if there:
            return [
                statement
                for field in self.fields
                if field.column not in there
                for statement in self.add(field)
            ]
        columns = [self.definition(field) for field in self.fields]
        columns.append(f"{GONE} bool NOT NULL DEFAULT 0")
        columns += [self.definition(field, BASE) for field in self.fields]
        editor = self.connection.schema_editor()
        columns += [
            constraint.constraint_sql(self.model, editor)
            for constraint in self.model._meta.constraints
            if isinstance(constraint, CheckConstraint)
        ]
        # The same indexes as the snapshot's, so that a query can use one for both parts.
        indexes = [
            f"CREATE INDEX main.{quote(f'overlay_{self.name}_{n}')} "
            f"ON {self.overlay} ({listing(names)})"
            for n, (_, names) in enumerate(self.indexes)
        ]
        return [f"CREATE TABLE main.{self.overlay} ({', '.join(columns)})", *indexes]

    def add(self, field):
        """Yield the statements that add a new column, and fill it with the snapshot's values."""
        for prefix in "", BASE:
            yield f"ALTER TABLE main.{self.overlay} ADD COLUMN {self.definition(field, prefix)}"
            yield (
                f"UPDATE main.{self.overlay} SET {quote(prefix + field.column)} = "
                f"(SELECT t.{quote(field.column)} FROM {self.snapshot} AS t "
                f"WHERE t.{self.key} = {self.overlay}.{self.key})"
            )

    # The view and its triggers: each connection makes its own.

    @property
    def gives_keys(self):
        return self.model._meta.auto_field is self.model._meta.pk

    @property
    def last_key(self):
        """An SQL expression: the last key that was given to a row added here."""
        return (
            f"(SELECT max({LAST_SNAPSHOT_KEY}, ifnull(max(seq), 0)) FROM main.sqlite_sequence "
            f"WHERE name = '{literal(f'overlay_{self.name}')}')"
        )

    def hidden(self, alias):
        """An SQL condition: there is a local row with the key of the snapshot's row."""
        same = f"o.{self.key} = {alias}.{self.key}"
        return f"EXISTS (SELECT 1 FROM main.{self.overlay} AS o WHERE {same})"

    def select(self, columns):
        return (
            f"SELECT {listing(columns, 't.')} FROM {self.snapshot} AS t "
            f"WHERE NOT {self.hidden('t')} "
            f"UNION ALL SELECT {listing(columns)} FROM main.{self.overlay} WHERE NOT {GONE}"
        )

    def clashes(self, event):
        """Return the errors of a plain table, as pairs of an SQL condition and SQLite's message.

        No table contains all the rows of the view, so a table's constraint can't check them.
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
        """The first statements of a trigger. They raise the same errors as a plain table."""
        return "".join(
            f"SELECT RAISE(ABORT, '{literal(message)}') WHERE {clash}; "
            for clash, message in self.clashes(event)
        )

    def put(self, row, gone, base=None, where="true"):
        """Return a statement for a trigger, which writes a local row.

        If the overlay has no row with this key yet, the statement also stores `base`, the values of
        the snapshot's row.
        """
        names = f"{listing(self.columns)}, {GONE}"
        values = f"{row}, {gone}"
        if base:
            names += f", {listing(self.columns, prefix=BASE)}"
            values += f", {base}"
        updates = ", ".join(
            f"{name} = excluded.{name}" for name in [*map(quote, self.columns), GONE]
        )
        return (
            f"INSERT INTO {self.overlay} ({names}) SELECT {values} WHERE {where} "
            f"ON CONFLICT ({self.key}) DO UPDATE SET {updates}; "
        )

    def whole(self, columns):
        """Return a SELECT of some columns of all rows: the fastest form to read the whole table.

        There are few local rows, compared to the snapshot. This form reads the snapshot in ranges,
        each between two local keys. The view, in contrast, looks for a local row for each row of
        the snapshot. The form with ranges works for integer keys only.
        """
        return (
            f"SELECT {listing(columns, 't.')} FROM (SELECT {self.key} AS above, "
            f"lead({self.key}, 1, {2**63 - 1}) OVER (ORDER BY {self.key}) AS below "
            f"FROM (SELECT {-(2**63)} AS {self.key} "
            f"UNION ALL SELECT {self.key} FROM main.{self.overlay})) AS gap "
            f"CROSS JOIN {self.snapshot} AS t "
            f"ON t.{self.key} > gap.above AND t.{self.key} < gap.below "
            f"UNION ALL SELECT {listing(columns)} FROM main.{self.overlay} WHERE NOT {GONE}"
        )

    def count(self, where=""):
        """An SQL expression: the number of rows that meet a WHERE clause.

        It counts the snapshot's rows, subtracts those that are hidden, and adds the local rows. So
        it does not look for a local row at each row of the snapshot. It contains the clause, and
        so its parameters, three times.
        """
        name = quote(self.name)
        return (
            f"(SELECT COUNT(*) FROM {self.snapshot} AS {name}{where}) "
            f"- (SELECT COUNT(*) FROM (SELECT {self.key} AS hidden FROM main.{self.overlay}) AS o "
            f"CROSS JOIN {self.snapshot} AS {name} ON {name}.{self.key} = o.hidden{where}) "
            f"+ (SELECT COUNT(*) FROM (SELECT {listing(self.columns)} FROM main.{self.overlay} "
            f"WHERE NOT {GONE}) AS {name}{where})"
        )

    def views(self):
        """Yield the statements for the view, a view for INSERT OR IGNORE, and the triggers."""
        name = quote(self.name)
        or_ignore = quote(f"{self.name} or ignore")
        is_made = self.is_made
        select = self.select(self.columns)
        if not is_made:  # there are no local rows yet: show those of the snapshot
            select = f"SELECT {listing(self.columns)} FROM {self.snapshot}"
        yield f"CREATE TEMP VIEW {name} AS {select}"
        yield f"CREATE TEMP VIEW {or_ignore} AS SELECT * FROM {name}"

        old = listing(self.columns, "OLD.")
        new = listing(self.columns, "NEW.")
        added = new
        if self.gives_keys:  # for SQL written by hand: the ORM's INSERT contains the key
            added = added.replace(f"NEW.{self.key}", f"ifnull(NEW.{self.key}, {self.last_key} + 1)")
        nothing = " AND ".join(f"NOT ({clash})" for clash, _ in self.clashes("INSERT"))
        # A row that was added here is deleted. For any other row, a local row is marked as gone.
        base = quote(f"{BASE}{self.model._meta.pk.column}")
        ours = f"{self.key} = OLD.{self.key} AND {base} IS NULL"
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
        """Yield the statements that drop the views, and with them their triggers."""
        for view in f"{self.name} or ignore", self.name:
            yield f"DROP VIEW IF EXISTS temp.{quote(view)}"
