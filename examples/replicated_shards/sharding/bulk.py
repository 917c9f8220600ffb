"""Inserts many rows at once, in the fastest way of each engine."""

from datetime import time

from django.db import connections


def names(model, alias):
    """Return a model's table, its key and its columns, quoted."""
    quote = connections[alias].ops.quote_name
    fields = [field for field in model._meta.local_concrete_fields if not field.generated]
    return (
        quote(model._meta.db_table),
        quote(model._meta.pk.column),
        [quote(field.column) for field in fields],
    )


def insert(model, rows, alias):
    """Insert rows, tuples of the values of all fields, as a driver takes them.

    This sends no signals and converts no values. A driver takes the values that it has read. With
    PostgreSQL and psycopg 3 it is COPY, and with MySQL and MariaDB one INSERT for many rows.
    """
    table, _, columns = names(model, alias)
    into = f"{table} ({', '.join(columns)})"
    if connections[alias].vendor == "sqlite":
        # Of the types that SQLite's driver reads, Django lets it write all others.
        connections[alias].Database.register_adapter(time, str)
    with connections[alias].cursor() as cursor:
        if hasattr(cursor, "copy"):
            with cursor.copy(f"COPY {into} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            marks = ", ".join(["%s"] * len(columns))
            cursor.executemany(f"INSERT INTO {into} VALUES ({marks})", rows)
