"""Export the local rows, to carry them to production by hand: as a fixture, or as SQL to review."""

from datetime import date, datetime, time
from decimal import Decimal
from math import isfinite

from django.core import serializers
from django.core.management import CommandError
from django.db.models import BooleanField, CharField, DurationField, ForeignKey, TextField

from overlay.rows import differences, overlaid_table
from overlay.tables import literal, quote

# Settings that make all three engines read a string in the same way.
PROLOGUE = [
    # MariaDB runs this kind of comment. Otherwise it would read a backslash as an escape.
    "/*! SET NAMES utf8mb4 */;",
    "/*! SET SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES,NO_BACKSLASH_ESCAPES') */;",
    # In PostgreSQL comments nest, so it runs the end of this line. To the others all is a comment.
    "/* /* */ -- */ SET standard_conforming_strings = on; SET TIME ZONE 'UTC';",
]
# Only MariaDB runs this. Otherwise it would ignore case and accents when it compares two strings.
EXACT = " /*M! COLLATE utf8mb4_nopad_bin */"


def fixture(models):
    """Return the added and changed rows as a JSON fixture, with their local keys.

    A fixture can't contain deletions.
    """
    here = []
    for model in models:
        keys = [row.key for row in differences(model) if row.kind != "deleted"]
        rows = model._base_manager.in_bulk(keys)
        here += [rows[key] for key in keys]
    return serializers.serialize("json", here, indent=2) + "\n"


def sql(models):
    """Yield lines of SQL, for SQLite, PostgreSQL and MariaDB.

    The WHERE of an UPDATE or DELETE contains the values that the snapshot had when the row was
    first changed here. So the statement changes nothing if production has other values now. An
    added row gets its key from production, and rows that refer to it look this key up. Rows are
    added in the order of the models, and deleted in the reverse order. Raises CommandError if such
    a key can't be looked up, and for a value that the three engines write differently.
    """
    rows = {model: differences(model) for model in models}
    yield from PROLOGUE
    yield "BEGIN;"
    for model in models:
        for row in rows[model]:
            if row.kind != "deleted":
                yield from statement(model, row, rows)
    for model in reversed(models):
        for row in rows[model]:
            if row.kind == "deleted":
                yield from statement(model, row, rows)
    yield "COMMIT;"


def statement(model, row, rows):
    if row.conflict:
        yield f"-- CONFLICT: {' '.join(row.conflict.split())}"
    meta = model._meta
    table = quote(meta.db_table)
    fields = {meta.get_field(name): values for name, values in row.fields.items()}

    def value(field, which):
        return written(field, which, rows)

    if row.kind == "added":
        fields = {f: v for f, v in fields.items() if f is not meta.auto_field}
        columns = ", ".join(quote(field.column) for field in fields)
        values = ", ".join(value(field, values.here) for field, values in fields.items())
        yield f"INSERT INTO {table} ({columns}) VALUES ({values});"
        return
    same = [f"{quote(meta.pk.column)} = {value(meta.pk, row.key)}"]
    for field, values in fields.items():
        if field is not meta.pk:
            base = value(field, values.base)
            exact = EXACT if isinstance(field, CharField | TextField) and base != "NULL" else ""
            same.append(f"{quote(field.column)} {'IS' if base == 'NULL' else '='} {base}{exact}")
    where = f"WHERE {' AND '.join(same)};"
    if row.kind == "deleted":
        yield f"DELETE FROM {table} {where}"
    else:
        changes = ", ".join(
            f"{quote(field.column)} = {value(field, values.here)}"
            for field, values in fields.items()
            if values.here != values.base
        )
        if changes:
            yield f"UPDATE {table} SET {changes} {where}"


def written(field, value, rows):
    """Return a field's value as SQL."""
    if isinstance(field, ForeignKey) and value is not None:
        target = field.related_model
        for row in rows.get(target, []):
            if row.kind == "added" and row.key == value:
                return key_of(target, row, rows)
        return written(field.target_field, value, rows)
    if value is None:
        return "NULL"
    if isinstance(field, BooleanField):
        return "TRUE" if value else "FALSE"
    value = field.get_db_prep_save(value, overlaid_table(field.model).connection)
    if not isinstance(field, DurationField):
        if isinstance(value, (int, float, Decimal)) and isfinite(value):
            return str(value)
        if isinstance(value, (str, date, datetime, time)):
            return f"'{literal(str(value))}'"
    raise CommandError(
        f"{field.model._meta.label}.{field.name}: the engines don't all write this value of a "
        f"{type(field).__name__} in the same way. Use --format=fixture"
    )


def key_of(model, row, rows):
    """Return a subquery for the key that production gives to a row that was added here."""
    for field in model._meta.local_concrete_fields:
        if field.unique and not field.primary_key and row.fields[field.name].here is not None:
            value = written(field, row.fields[field.name].here, rows)
            return (
                f"(SELECT {quote(model._meta.pk.column)} FROM {quote(model._meta.db_table)} "
                f"WHERE {quote(field.column)} = {value})"
            )
    raise CommandError(
        f"An exported row refers to {model._meta.label} {row.key}, which was added here. The SQL "
        "can't look up its key in production, because the row has no value in a unique field. "
        "Add both rows to production by hand."
    )
