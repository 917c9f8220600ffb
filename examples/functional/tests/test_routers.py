"""The router, and the faults that it avoids.

Tests with the fixture ``router`` run with the project's router and with a naive router. With the
naive router they have to fail: ``strict=True`` reports a test that passes with it.
"""

import json

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connections
from django.db.migrations import RunPython
from django.db.migrations.state import ProjectState
from django.db.utils import ConnectionRouter

from products.models import Product
from reviews.models import Review
from shop.routers import FunctionalRouter


class NaiveRouter:
    """A router that answers for its own app, and returns None for all others."""

    def db_for_read(self, model, **hints):
        return "reviews" if model._meta.app_label == "reviews" else None

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints):
        return db == "reviews" if app_label == "reviews" else None


@pytest.fixture(
    params=[
        FunctionalRouter,
        pytest.param(NaiveRouter, marks=pytest.mark.xfail(strict=True, raises=AssertionError)),
    ]
)
def router(request):
    return ConnectionRouter([request.param()])


@pytest.fixture
def shop_router():
    return ConnectionRouter([FunctionalRouter()])


@pytest.mark.parametrize(
    ("model", "alias"),
    [(Product, "default"), (User, "default"), (Session, "default"), (Review, "reviews")],
)
def test_a_model_is_read_and_written_in_the_database_of_its_app(shop_router, model, alias):
    assert shop_router.db_for_read(model) == alias
    assert shop_router.db_for_write(model) == alias
    assert shop_router.allow_migrate_model(alias, model)
    (other,) = {"default", "reviews"} - {alias}
    assert not shop_router.allow_migrate_model(other, model)


def test_the_instance_at_hand_does_not_draw_other_models_to_its_database(router):
    """Otherwise ``review.product`` would be read from the database of the review."""
    review = Review()
    review._state.db = "reviews"
    assert router.db_for_read(Product, instance=review) == "default"
    assert router.db_for_write(Product, instance=review) == "default"


def test_an_instance_read_elsewhere_is_written_to_the_database_of_its_app(router):
    """For example, it was read from a backup with a third alias. Only its model counts."""
    product = Product()
    product._state.db = "backup"
    assert router.db_for_write(Product, instance=product) == "default"


def test_a_relation_within_a_database_is_allowed_wherever_the_objects_came_from(router):
    """Without the router, Django would compare the databases that the objects were read from."""
    product, user = Product(), User()
    product._state.db = "default"
    user._state.db = "backup"
    assert router.allow_relation(product, user) is True


def test_a_relation_across_databases_is_not_allowed_even_between_new_objects(router):
    """Without the router, Django would allow it: for both objects ``_state.db`` is None."""
    assert router.allow_relation(Product(), Review()) is False


@pytest.mark.parametrize("app", ["products", "auth", "sessions", "contenttypes", "next_year"])
def test_no_other_app_comes_into_the_reviews_database(router, app):
    """A router with a rule only for its own app allows all other apps in this database."""
    assert router.allow_migrate("reviews", app) is False
    assert router.allow_migrate("default", app) is True


def test_run_python_runs_in_the_database_of_its_app_alone(router, monkeypatch):
    """The router gets no model here. With the naive router, the one of products runs twice."""
    monkeypatch.setattr("django.db.migrations.operations.special.router", router)
    ran = []
    for app in ("products", "reviews"):
        for connection in connections.all():
            operation = RunPython(lambda *_, pair=(app, connection.alias): ran.append(pair))
            operation.database_forwards(app, connection.schema_editor(), ProjectState(), None)
    assert ran == [("products", "default"), ("reviews", "reviews")]


def contents(manage, alias):
    """Return the names of a database's tables, and of the apps with recorded migrations there."""
    process = manage(
        "shell",
        "-v0",
        "-c",
        "import json\n"
        "from django.db import connections\n"
        "from django.db.migrations.recorder import MigrationRecorder\n"
        f"connection = connections[{alias!r}]\n"
        "applied = MigrationRecorder(connection).applied_migrations()\n"
        "apps = sorted({app for app, _ in applied})\n"
        "print(json.dumps([connection.introspection.table_names(), apps]))",
    )
    tables, apps = json.loads(process.stdout)
    return set(tables), set(apps)


def test_migrating_the_reviews_database(manage):
    """The app's name keeps false records of migrations out, and the router keeps tables out."""
    assert manage("migrate", "--database=reviews", "reviews").returncode == 0
    assert contents(manage, "reviews") == ({"django_migrations", "reviews_review"}, {"reviews"})

    assert manage("migrate", "--database=reviews").returncode == 0
    tables, apps = contents(manage, "reviews")
    assert tables == {"django_migrations", "reviews_review"}
    assert "auth" in apps  # recorded, but without a table: so ``migrate`` has to name the app


def test_migrating_the_default_database(manage):
    assert manage("migrate").returncode == 0
    tables, apps = contents(manage, "default")
    assert {"products_product", "auth_user", "django_session", "django_content_type"} <= tables
    assert "reviews_review" not in tables
    assert contents(manage, "reviews") == (set(), set())
