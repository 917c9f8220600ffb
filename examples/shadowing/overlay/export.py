"""The local rows as something to carry to production by hand: a fixture, or SQL to be read."""

from datetime import date, datetime, time
from decimal import Decimal
from math import isfinite

from django.core import serializers
from django.core.management import CommandError
from django.db.models import BooleanField, CharField, DurationField, ForeignKey, TextField

from overlay.rows import differences, overlaid_table
from overlay.tables import literal, quote

# What each engine has to be told, such that all three read a text alike, whatever their settings.
PROLOGUE = [
    # A comment, but MariaDB runs it. Else a backslash at the end of a text would take the quote.
    "/*! SET NAMES utf8mb4 */;",
    "/*! SET SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES,NO_BACKSLASH_ESCAPES') */;",
    # Only in PostgreSQL comments nest: for the others, all of it is a comment.
    "/* /* */ -- */ SET standard_conforming_strings = on; SET TIME ZONE 'UTC';",
]
# MariaDB alone runs this. Else a text is equal to another that differs in case or in accents.
EXACT = " /*M! COLLATE utf8mb4_nopad_bin */"


def fixture(models):
    """Return the rows that were added or changed as a JSON fixture, with the keys they have here.

    A fixture can't tell of a row that was deleted.
    """
    here = []
    for model in models:
        keys = [row.key for row in differences(model) if row.kind != "deleted"]
        rows = model._base_manager.in_bulk(keys)
        here += [rows[key] for key in keys]
    return serializers.serialize("json", here, indent=2) + "\n"


def sql(models):
    """Yield lines of SQL, for SQLite, PostgreSQL and MariaDB.

    An UPDATE or DELETE asks for the values which the row had when it was touched here: it changes
    nothing where production has changed them meanwhile. A row that was added gets its key from
    production, and so do the rows that refer to it. Rows are added in the order of the models, and
    deleted in the other. Raises CommandError for a row that others can't refer to in this way, and
    for a value that the three engines write differently.
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
    """Return a field's value as SQL has it."""
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
        f"{field.model._meta.label}.{field.name}: no SQL for this value of a "
        f"{type(field).__name__} is the same on all engines. Use --format=fixture"
    )


def key_of(model, row, rows):
    """Return a subquery for the key that production will have given to a row added here."""
    for field in model._meta.local_concrete_fields:
        if field.unique and not field.primary_key and row.fields[field.name].here is not None:
            value = written(field, row.fields[field.name].here, rows)
            return (
                f"(SELECT {quote(model._meta.pk.column)} FROM {quote(model._meta.db_table)} "
                f"WHERE {quote(field.column)} = {value})"
            )
    raise CommandError(
        f"{model._meta.label} {row.key} was added here, and a row that is to be exported refers to "
        "it; but it has no unique field to find it by in production. Carry it there by hand."
    )
