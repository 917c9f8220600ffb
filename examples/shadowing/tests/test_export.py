"""What ``overlay export`` writes, of each type of field: on the engine that the suite is run on."""

import datetime
import uuid
from decimal import Decimal
from types import SimpleNamespace

import pytest
from django.core.management import CommandError
from django.db import connections, models
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.test.utils import isolate_apps

from overlay import export

MOMENT = datetime.datetime(2020, 2, 29, 23, 59, 59, 123456, tzinfo=datetime.UTC)
VALUES = [
    (models.IntegerField(), -5),
    (models.BigIntegerField(), 2**60),
    (models.BooleanField(), True),
    (models.BooleanField(), False),
    (models.CharField(max_length=50), "ends in a backslash\\"),
    (models.CharField(max_length=50), '\'; DROP TABLE "t"; -- `%s /* # '),
    (models.TextField(), "é😀\n\r\t\\'"),
    (models.DateField(), MOMENT.date()),
    (models.DateTimeField(), MOMENT),
    (models.TimeField(), MOMENT.time()),
    (models.DecimalField(max_digits=9, decimal_places=3), Decimal("-12.300")),
    (models.FloatField(), -1 / 3),
    (models.FloatField(), 1e300),
    (models.UUIDField(), uuid.UUID(int=2**100 + 1)),
    (models.GenericIPAddressField(), "2001:db8::1"),
    (models.JSONField(), {"a": [1, "\\ ' \" é", None]}),
    (models.FileField(), "a/b.txt"),
]
NOT_THE_SAME = [
    (models.BinaryField(), b"\x00\xff"),
    (models.DurationField(), datetime.timedelta(days=3, microseconds=7)),
    (models.FloatField(), float("inf")),
]
QUIRKS = {
    "sqlite": [],
    "postgresql": ["SET standard_conforming_strings = off", "SET TIME ZONE 'Asia/Tokyo'"],
    "mysql": ["SET SESSION sql_mode = 'ANSI,STRICT_ALL_TABLES'", "SET NAMES latin1"],
}


def names(values):
    return [f"{type(field).__name__} {value!r}" for field, value in values]


@pytest.fixture
def overlay(monkeypatch):
    """The local rows are SQLite's, whatever production is on."""
    entry = connections.configure_settings({"default": {"NAME": ":memory:"}})["default"]
    table = SimpleNamespace(connection=DatabaseWrapper(entry))
    monkeypatch.setattr(export, "overlaid_table", lambda model: table)


def table_of(field):
    with isolate_apps("products"):
        body = {"Meta": type("Meta", (), {"app_label": "products", "db_table": "export_trial"})}
        return type("Trial", (models.Model,), {"__module__": __name__, "v": field.clone(), **body})


@pytest.fixture
def production(django_db_setup, django_db_blocker):
    """A connection of the suite's engine, with the settings that are hardest on a text."""
    with django_db_blocker.unblock():
        connection = connections["default"].copy()
        yield connection
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE export_trial")
        connection.close()


@pytest.mark.parametrize(("field", "value"), VALUES, ids=names(VALUES))
def test_a_value_is_written_as_it_is(overlay, production, field, value):
    model = table_of(field)
    field = model._meta.get_field("v")
    written = export.written(field, value, {})
    with production.cursor() as cursor:
        cursor.execute(production.schema_editor().table_sql(model)[0])
        cursor.execute(
            "INSERT INTO export_trial (v) VALUES (%s)",
            [field.get_db_prep_save(value, production)],
        )
        for statement in QUIRKS[production.vendor] + export.PROLOGUE:
            cursor.execute(statement)
        cursor.execute(f"SELECT COUNT(*) FROM export_trial WHERE v = {written}")
        assert cursor.fetchone() == (1,)
        cursor.execute(f'INSERT INTO "export_trial" ("v") VALUES ({written})')
        cursor.execute("SELECT v FROM export_trial")
        (one,), (other,) = cursor.fetchall()
        assert one == other


@pytest.mark.parametrize(("field", "value"), NOT_THE_SAME, ids=names(NOT_THE_SAME))
def test_a_value_that_engines_write_differently_is_refused(overlay, field, value):
    field = table_of(field)._meta.get_field("v")
    with pytest.raises(
        CommandError, match=r"^products\.Trial\.v: the engines .* --format=fixture$"
    ):
        export.written(field, value, {})


@pytest.mark.parametrize("changed", ["Émile ", "emile", "Emile  "])
def test_a_change_of_case_accents_or_spaces_in_production_is_a_change(production, changed):
    with production.cursor() as cursor:
        cursor.execute(production.schema_editor().table_sql(table_of(models.TextField()))[0])
        cursor.execute("INSERT INTO export_trial (v) VALUES (%s)", [changed])
        for statement in export.PROLOGUE:
            cursor.execute(statement)
        for text, found in (changed, 1), ("Emile ", 0):
            cursor.execute(f"SELECT COUNT(*) FROM export_trial WHERE v = '{text}'{export.EXACT}")
            assert cursor.fetchone() == (found,)
