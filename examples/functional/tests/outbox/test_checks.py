import pytest
from django.core.checks import run_checks
from django.db import router

from shop.routers import RouterWithOrders

# From Django 6.1 on, the check of a JSONField asks the database.
pytestmark = pytest.mark.django_db(databases=["default", "reviews"])


def found():
    return {m.id: m.msg for m in run_checks() if m.id.startswith("outbox")}


def test_nothing_is_wrong():
    assert found() == {}


@pytest.mark.parametrize(
    ("changes", "number", "text"),
    [
        ({"OUTBOX_SOURCES": []}, "E001", "must not be empty"),
        ({"OUTBOX_RECEIVERS": {}}, "E001", "must not be empty"),
        ({"OUTBOX_RECEIVERS": {"a": "reviews"}}, "E002", "not 'reviews'"),
        ({"OUTBOX_RECEIVERS": {"a": ("reviews", print)}}, "E002", "path of a function"),
        ({"OUTBOX_RECEIVERS": {"a": ("reviews", "no.such.path")}}, "E003", "No module named 'no'"),
        ({"OUTBOX_RECEIVERS": {"a": ("reviews", "shop.urls.path_")}}, "E003", '"path_"'),
        ({"OUTBOX_RECEIVERS": {"a": ("reviews", "shop.settings.DEBUG")}}, "E003", "not a function"),
        (
            {"OUTBOX_RECEIVERS": dict.fromkeys("aA", ("reviews", "purchases.receiving.receive"))},
            "E004",
            "upper and lower case",
        ),
        ({"OUTBOX_SOURCES": ["elsewhere"]}, "E005", 'OUTBOX_SOURCES names "elsewhere"'),
        (
            {"OUTBOX_RECEIVERS": {"a": ("other", "purchases.receiving.receive")}},
            "E005",
            'OUTBOX_RECEIVERS names "other"',
        ),
        ({"OUTBOX_TRIES": 0}, "E006", "OUTBOX_TRIES must be a whole number of at least 1, not 0."),
        ({"OUTBOX_KEEP_DAYS": -1}, "E006", "at least 0, not -1."),
        ({"OUTBOX_KEEP_DAYS": 1.5}, "E006", "not 1.5."),
    ],
)
def test_wrong_settings(settings, changes, number, text):
    for name, value in changes.items():
        setattr(settings, name, value)
    assert text in found()[f"outbox.{number}"]


def test_a_router_that_keeps_the_tables_out(monkeypatch):
    monkeypatch.setattr(router, "routers", [RouterWithOrders()])
    assert found() == {
        "outbox.E007": 'The routers do not allow the tables of the outbox in "reviews".'
    }


def test_each_setting_is_optional_or_said(settings):
    del settings.OUTBOX_SOURCES
    assert "outbox.E001" in found()
