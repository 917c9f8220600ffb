"""Find the local rows that differ from the snapshot, and keep or discard them.

A model's local rows are in the database that the router gives for writes. A model that is not
overlaid has no differences.
"""

from collections import namedtuple

from django.db import OperationalError, connections, router

from overlay.tables import BASE, GONE, OverlaidTable, is_overlaid, listing, overlaid_models, quote

__all__ = ["differences", "discard", "is_overlaid", "keep", "origins", "overlaid_models"]

# The values of a column: in the snapshot when the row was first changed here; in the local row; and
# in the present snapshot. None if there is no row.
Values = namedtuple("Values", "base here snapshot")

# A row that differs: its key; "added", "changed" or "deleted"; ``{field name: Values}`` of the
# fields that differ; and how a newer snapshot conflicts with the row, or "".
Difference = namedtuple("Difference", "key kind fields conflict")


def overlaid_table(model):
    connection = connections[router.db_for_write(model)]
    if not hasattr(connection, "overlaid"):
        raise OperationalError(
            f'The engine of database "{connection.alias}" can\'t overlay rows. On SQLite, write '
            f'"ENGINE": "overlay.backend" in DATABASES["{connection.alias}"].'
        )
    connection.ensure_connection()
    if model not in connection.overlaid:
        raise OperationalError(OverlaidTable(model, connection).not_up_to_date)
    return connection.overlaid[model]


def origins(model, keys):
    """Return ``{key: "added" or "changed"}`` for those of the keys that differ, in one query.

    A row that was changed, and then changed back, does not differ.
    """
    keys = list(keys)
    if not (is_overlaid(model) and keys):
        return {}
    table = overlaid_table(model)
    base = listing(table.columns, "o.", BASE)
    with table.connection.cursor() as cursor:
        cursor.execute(
            f"SELECT o.{table.key}, {base_key('o.', table)} IS NULL "
            f"FROM main.{table.overlay} AS o WHERE NOT o.{GONE} "
            f"AND ({listing(table.columns, 'o.')}) IS NOT ({base}) "
            f"AND o.{table.key} IN ({', '.join(['%s'] * len(keys))})",
            [model._meta.pk.get_db_prep_value(key, table.connection) for key in keys],
        )
        rows = cursor.fetchall()
    to_python = converter(model._meta.pk, table.connection)
    return {to_python(key): "added" if added else "changed" for key, added in rows}


def base_key(row, table):
    return row + quote(f"{BASE}{table.model._meta.pk.column}")


def converter(field, connection):
    """Return a function that converts a value of the database to the value of an instance."""
    column = field.get_col(field.model._meta.db_table)
    steps = connection.ops.get_db_converters(column) + field.get_db_converters(connection)

    def convert(value):
        for step in steps:
            value = step(value, column, connection)
        return value

    return convert


def differences(model):
    """Return a list of ``Difference``s, ordered by key."""
    if not is_overlaid(model):
        return []
    table = overlaid_table(model)
    width = len(table.columns)
    clashing = clashes(table)
    with table.connection.cursor() as cursor:
        cursor.execute(
            f"SELECT o.{GONE}, {base_key('o.', table)} IS NOT NULL, t.{table.key} IS NOT NULL, "
            f"{listing(table.columns, 'o.', BASE)}, {listing(table.columns, 'o.')}, "
            f"{listing(table.columns, 't.')} FROM main.{table.overlay} AS o "
            f"LEFT JOIN {table.snapshot} AS t ON t.{table.key} = o.{table.key} "
            f"ORDER BY o.{table.key}"
        )
        rows = cursor.fetchall()
    converters = [converter(field, table.connection) for field in table.fields]
    place = table.fields.index(model._meta.pk)
    found = []
    for gone, had_base, is_there, *values in rows:
        base, here, now = (
            [convert(value) for convert, value in zip(converters, values[i:], strict=False)]
            for i in range(0, 3 * width, width)
        )
        key = here[place]
        if gone:
            if not is_there:
                continue  # deleted here, and in the snapshot too
            here = [None] * width
        elif is_there and here == now:
            continue
        kind = "deleted" if gone else "changed" if had_base else "added"
        conflict = ""
        if had_base and not is_there:
            conflict = "deleted in the newer snapshot"
        elif had_base and base != now:
            conflict = "changed in the newer snapshot"
        elif not had_base and is_there:
            conflict = "a row of the newer snapshot has this key"
        elif key in clashing:
            conflict = f"a row of the newer snapshot has the same {clashing[key]}"
        fields = {
            field.name: Values(*values)
            for field, *values in zip(table.fields, base, here, now, strict=True)
            if len(set(map(repr, values))) > 1
        }
        found.append(Difference(key, kind, fields, conflict))
    return found


def clashes(table):
    """Return ``{key: columns}`` of the local rows that break a unique constraint.

    A row of the snapshot has the same values. No trigger detects this, because the snapshot was
    replaced and no local row was written.
    """
    found = {}
    with table.connection.cursor() as cursor:
        for unique, columns in table.indexes:
            if unique:
                same = " AND ".join(f"t.{quote(name)} = l.{quote(name)}" for name in columns)
                cursor.execute(
                    f"SELECT l.{table.key} FROM main.{table.overlay} AS l "
                    f"JOIN {table.snapshot} AS t ON {same} AND t.{table.key} <> l.{table.key} "
                    f"WHERE NOT l.{GONE} AND NOT {table.hidden('t')}"
                )
                to_python = converter(table.model._meta.pk, table.connection)
                found |= {to_python(key): ", ".join(columns) for (key,) in cursor.fetchall()}
    return found


def of_keys(table, keys):
    """Return a condition and its parameters. If ``keys`` is None, all rows meet it."""
    if keys is None:
        return "true", []
    keys = [table.model._meta.pk.get_db_prep_value(key, table.connection) for key in keys]
    return f"{table.key} IN ({', '.join(['%s'] * len(keys))})", keys


def discard(model, keys=None):
    """Delete the local rows with these keys, or all, so that the snapshot's rows are shown again.

    Returns the number of deleted rows.
    """
    if not is_overlaid(model):
        return 0
    table = overlaid_table(model)
    where, params = of_keys(table, keys)
    with table.connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM main.{table.overlay} WHERE {where}", params)
        return cursor.rowcount


def keep(model, keys=None):
    """Settle conflicts: keep the local rows, and store the snapshot's present rows as their base.

    Returns the number of rows.
    """
    if not is_overlaid(model):
        return 0
    table = overlaid_table(model)
    where, params = of_keys(table, keys)
    with table.connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE main.{table.overlay} SET ({listing(table.columns, prefix=BASE)}) = "
            f"(SELECT {listing(table.columns, 't.')} FROM {table.snapshot} AS t "
            f"WHERE t.{table.key} = {table.overlay}.{table.key}) WHERE {where}",
            params,
        )
        return cursor.rowcount
