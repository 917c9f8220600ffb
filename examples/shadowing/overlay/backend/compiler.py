"""Other SQL, where the SQL of Django's ORM does not work or is slow on an overlaid table."""

import re
from itertools import count

from django.db.models import IntegerField
from django.db.models.expressions import RawSQL
from django.db.models.sql import compiler
from django.db.models.sql.compiler import *  # noqa: F403 (Django looks for all of them here)


class SQLCompiler(compiler.SQLCompiler):
    def as_sql(self, *args, **kwargs):
        self.connection.ensure_connection()  # `overlaid` is filled when the connection opens
        sql, params = super().as_sql(*args, **kwargs)
        table = self.connection.overlaid.get(self.query.model)
        if table and self.is_one_aggregate():
            return self.faster(table, sql, params)
        return sql, params

    def is_one_aggregate(self):
        """Whether the query gives one row of aggregates, as ``count()`` and ``aggregate()`` do."""
        query = self.query
        return (
            query.annotation_select
            and not (query.select or query.default_cols or query.combinator)
            and query.group_by is None
            and all(
                annotation.contains_aggregate for annotation in query.annotation_select.values()
            )
        )

    def faster(self, table, sql, params):
        """Replace the view by a SELECT of only those columns that the query names.

        To compute an aggregate over a view of two parts, SQLite reads every column of the view. A
        count, which each page of a list needs, is replaced by a form that is faster still.
        """
        name = re.escape(f'"{table.name}"')
        counted = re.fullmatch(
            rf"SELECT COUNT\(\*\) AS (\"[^\"]+\") FROM {name}( WHERE .*)?", sql, re.DOTALL
        )
        if counted:
            return f"SELECT {table.count(counted[2] or '')} AS {counted[1]}", (*params,) * 3
        view = re.compile(rf"\bFROM {name}(?= WHERE |$)")
        if len(view.findall(sql)) != 1:  # a join, or raw SQL
            return sql, params
        columns = [column for column in table.columns if f'"{table.name}"."{column}"' in sql]
        columns = columns or [table.model._meta.pk.column]
        whole = view.search(sql).end() == len(sql) and isinstance(
            table.model._meta.pk, IntegerField
        )
        select = table.whole(columns) if whole else table.select(columns)
        return view.sub(lambda _: f'FROM ({select}) AS "{table.name}"', sql), params


class SQLInsertCompiler(compiler.SQLInsertCompiler):
    def as_sql(self):
        model = self.query.get_meta().concrete_model
        self.connection.ensure_connection()
        table = self.connection.overlaid.get(model)
        if not table:
            return super().as_sql()
        key = model._meta.auto_field
        if key and key not in self.query.fields:
            # SQLite can't return a key that a trigger gave. So the statement contains the key, as
            # an expression that SQLite evaluates while no other process can write.
            self.query.fields = [key, *self.query.fields]
            self.new_keys = (f"{table.last_key} + {n}" for n in count(1))
        insert, ignore = f'"{table.name}"', f'"{table.name} or ignore"'
        return [
            (sql.replace(f"INSERT OR IGNORE INTO {insert}", f"INSERT INTO {ignore}", 1), params)
            for sql, params in super().as_sql()
        ]

    new_keys = None

    def pre_save_val(self, field, obj):
        if self.new_keys and field is self.query.get_meta().auto_field:
            return RawSQL(next(self.new_keys), [])
        return super().pre_save_val(field, obj)
