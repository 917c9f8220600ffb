"""Rows that are copied by SQL, with the values that the driver has read, are not changed."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from django.db import connections, models

from sharding.bulk import insert, names
from tests.databases import ALIASES

TEXT = "tab\t, line\n, \\N, \\., 'quote\", naïve ⏰, 100 %s"
# For each field: two values, of which the first is likely to be changed by a wrong copy.
VALUES = {
    models.BigIntegerField: (-(2**63), 2**63 - 1),
    models.BinaryField: (bytes(range(256)), b"\\x00"),
    models.BooleanField: (False, True),
    models.CharField: (TEXT, ""),
    models.DateField: (date(1582, 10, 14), date(9999, 12, 31)),
    models.DateTimeField: (
        datetime(2026, 3, 29, 0, 59, 59, 999999, UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
    ),
    models.DecimalField: (Decimal("-0.01"), Decimal("9999999999999.99")),
    models.DurationField: (timedelta(days=-1, microseconds=1), timedelta(days=40)),
    models.FloatField: (0.1, -1.7976931348623157e308),
    models.GenericIPAddressField: ("2001:db8::1", "10.0.0.1"),
    models.JSONField: ({"text": TEXT, "n": [1, 1.5, None, {}]}, "null"),
    models.TextField: (TEXT, "\\N"),
    models.TimeField: (time(23, 59, 59, 999999), time(0)),
    models.UUIDField: (UUID(int=0), UUID(int=2**128 - 1)),
}
OPTIONS = {
    models.CharField: {"max_length": 100},
    models.DecimalField: {"max_digits": 15, "decimal_places": 2},
}


def fields():
    made = {kind.__name__.lower(): kind(null=True, **OPTIONS.get(kind, {})) for kind in VALUES}
    values = {kind.__name__.lower(): both for kind, both in VALUES.items()}
    if connections["shard0"].vendor == "postgresql":
        from django.contrib.postgres.fields import ArrayField

        made["numbers"] = ArrayField(models.IntegerField(), null=True)
        made["texts"] = ArrayField(models.TextField(null=True), null=True)
        made["nested"] = ArrayField(ArrayField(models.DateTimeField()), null=True)
        made["documents"] = ArrayField(models.JSONField(), null=True)
        values["numbers"] = [], [1, -1]
        values["texts"] = ["{", '"', ",", TEXT, "", None, "NULL"], []
        values["nested"] = [[datetime(2026, 1, 1, tzinfo=UTC)]] * 2, []
        values["documents"] = [{"text": TEXT}, [1]], []
    return made, values


@pytest.fixture
def model(django_db_blocker):
    made, values = fields()
    body = {"__module__": __name__, "Meta": type("Meta", (), {"app_label": "customers"}), **made}
    model = type("Everything", (models.Model,), body)
    model.values = values
    aliases = ["shard0", "shard1"]
    for alias in aliases:
        with connections[alias].schema_editor() as editor:
            editor.create_model(model)
    yield model
    for alias in aliases:
        with connections[alias].schema_editor() as editor:
            editor.delete_model(model)
    from django.apps import apps

    del apps.all_models["customers"]["everything"]
    apps.clear_cache()


@pytest.mark.django_db(databases=ALIASES, transaction=True)
def test_each_value_is_the_same_in_the_copy(model):
    rows = [
        model(pk=1, **{name: both[0] for name, both in model.values.items()}),
        model(pk=2, **{name: both[1] for name, both in model.values.items()}),
        model(pk=3),  # all are NULL
    ]
    models.QuerySet(model, using="shard0").bulk_create(rows)
    table, key, columns = names(model, "shard0")
    select = f"SELECT {', '.join(columns)} FROM {table} ORDER BY {key}"

    def read(alias):
        with connections[alias].cursor() as cursor:
            cursor.execute(select)
            return list(cursor.fetchall())

    insert(model, read("shard0"), "shard1")
    assert read("shard1") == read("shard0")
    there = list(models.QuerySet(model, using="shard1").order_by("pk").values())
    assert there == list(models.QuerySet(model, using="shard0").order_by("pk").values())
    for number, row in enumerate(there[:2]):
        assert {name: row[name] for name in model.values} == {
            name: both[number] for name, both in model.values.items()
        }
