"""The errors of ``manage.py check`` for foreign keys between two databases."""

import pytest
from django.core.checks import run_checks

from shop.routers import FunctionalRouter


def crossing():
    return sorted(
        error.msg.split()[0] for error in run_checks(databases=[]) if error.id == "shop.E001"
    )


def test_none_crosses():
    assert crossing() == []


@pytest.mark.parametrize(
    ("app", "names"),
    [
        ("admin", ["admin.LogEntry.content_type", "admin.LogEntry.user"]),
        (
            "auth",
            ["admin.LogEntry.user", "auth.Permission.content_type"],
        ),
        ("sessions", []),
    ],
)
def test_each_that_crosses_is_named(monkeypatch, app, names):
    monkeypatch.setattr(FunctionalRouter, "databases", {"reviews": "reviews", app: "reviews"})
    assert crossing() == names


def test_the_tables_of_many_to_many_fields(monkeypatch):
    def home(self, model, **hints):
        return "reviews" if model._meta.model_name == "group" else "default"

    monkeypatch.setattr(FunctionalRouter, "db_for_write", home)
    assert crossing() == [
        "auth.Group_permissions.group",
        "auth.User_groups.group",
    ]


def test_what_it_says(monkeypatch):
    monkeypatch.setattr(FunctionalRouter, "databases", {"admin": "reviews"})
    errors = [error for error in run_checks(databases=[]) if error.id == "shop.E001"]
    error = next(error for error in errors if "LogEntry.user" in error.msg)
    assert error.msg == (
        'admin.LogEntry.user is a foreign key from database "reviews" to auth.User in "default".'
    )
    assert error.hint
