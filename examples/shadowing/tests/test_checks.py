"""What ``manage.py check`` says about a project that has forgotten a line, and of a right one."""

import sqlite3
from contextlib import closing
from sqlite3 import DatabaseError

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections, models
from django.test.utils import isolate_apps

from overlay import checks
from overlay.routers import ShadowRouter
from overlay.tables import OverlaidTable

SHADOW_ROUTER = "overlay.routers.ShadowRouter"


class OwnRouter(ShadowRouter):
    pass


class EveryTable:
    """As a router was before the project took the app: it answers for all of its models."""

    def allow_migrate(self, db, app_label, **hints):
        return db == "default"


def ours():
    """Return the messages of this app; each has a hint."""
    messages = [message for message in run_checks() if message.id.startswith("overlay.")]
    assert all(message.hint for message in messages)
    return messages


def ids():
    return [message.id for message in ours()]


def test_the_projects_are_right(shop):
    for live in False, True:
        said = shop.does("check", "--database=default", "--fail-level=WARNING", live=live)
        assert said == "System check identified no issues (0 silenced).\n"


@pytest.mark.parametrize("name", checks.SETTINGS)
@pytest.mark.parametrize("value", [None, 1, [1], ("default", 1)])
def test_a_setting_of_another_type(settings, name, value):
    checks.require_settings()
    setattr(settings, name, value)
    with pytest.raises(ImproperlyConfigured, match=f"^{name} is not .* Write {name} = "):
        checks.require_settings()


@pytest.mark.parametrize("name", checks.SETTINGS)
def test_a_setting_is_missing(shop, name):
    with (shop.folder / "shop" / "settings.py").open("a") as file:
        file.write(f"del {name}\n")
    for command in "check", "migrate":
        said = shop(command).stderr.splitlines()[-1]
        assert said.startswith(f"django.core.exceptions.ImproperlyConfigured: {name} is not ")


@pytest.mark.parametrize("name", ["SHADOWED", "OVERLAID"])
def test_a_text_is_no_list(settings, name):
    setattr(settings, name, "reviews.Review")
    with pytest.raises(ImproperlyConfigured, match=f"^{name} is not a list of names"):
        checks.require_settings()


@pytest.mark.parametrize("name", ["LOCAL_DATABASE", "SNAPSHOT_DATABASE"])
def test_an_alias_that_is_no_database(settings, name):
    setattr(settings, name, "elsewhere")
    (message,) = ours()
    assert message.id == "overlay.E002"
    assert message.msg == f'{name} names "elsewhere", which is no database.'
    settings.SHADOWED = settings.OVERLAID = []
    assert ids() == []


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("SHADOWED", "reviews.Reviewed"),
        ("SHADOWED", "review"),
        ("OVERLAID", "products.Clock"),
        ("OVERLAID", "products"),
        ("OVERLAID", ""),
    ],
)
def test_a_label_of_nothing(settings, name, label):
    setattr(settings, name, [*getattr(settings, name), label])
    (message,) = ours()
    assert message.id == "overlay.E003"
    assert message.msg.startswith(f'{name} names "{label}", which is no model')


@pytest.mark.parametrize("label", ["products", "products.Product", "Products.product"])
def test_a_model_in_both(settings, label):
    settings.SHADOWED = [label]
    settings.OVERLAID = ["products.Product"]
    (message,) = ours()
    assert message.id == "overlay.E004"
    assert message.msg == "products.Product is both in SHADOWED and in OVERLAID."


@pytest.mark.parametrize(
    "routers", [[], ["shop.routers.VendorRouter"], ["test_checks.EveryTable", SHADOW_ROUTER]]
)
def test_the_router_is_missing_or_not_asked(settings, routers):
    settings.DATABASE_ROUTERS = routers
    (message,) = ours()
    assert message.id == "overlay.E005" and SHADOW_ROUTER in message.hint


def test_a_router_of_ones_own(settings):
    settings.DATABASE_ROUTERS = ["shop.routers.VendorRouter", "test_checks.OwnRouter"]
    assert ids() == []


def test_another_engine(settings, monkeypatch):
    monkeypatch.setattr(checks, "connections", {**connections_by_alias(), "default": object()})
    (message,) = ours()
    assert message.id == "overlay.E006" and '"ENGINE": "overlay.backend"' in message.hint
    settings.OVERLAID = []
    assert ids() == []


def connections_by_alias():
    return {alias: connections[alias] for alias in connections}


@isolate_apps("products")
def priced(column):
    """Return a model with a column beside its price."""
    fields = {"price": models.IntegerField(), "other": models.IntegerField(db_column=column)}
    meta = type("Meta", (), {"app_label": "products"})
    return type("Priced", (models.Model,), {**fields, "Meta": meta, "__module__": __name__})


@pytest.mark.django_db
@pytest.mark.parametrize("column", ["base_price", "base_Price", "gone"])
def test_a_column_that_the_overlay_needs(monkeypatch, settings, column):
    model = priced(column)
    # Without the check, this is what `migrate` says, and it names no cure.
    connection.ensure_connection()
    with pytest.raises(DatabaseError, match=f"duplicate column name: (?i:{column})"):
        connection.connection.execute(OverlaidTable(model, connection).make()[0])

    monkeypatch.setattr(checks, "model_of", lambda label: model)
    settings.OVERLAID = ["products.Product"]
    (message,) = ours()
    assert message.id == "overlay.E007" and f'"{column.lower()}"' in message.msg


def test_a_base_of_no_column(monkeypatch):
    monkeypatch.setattr(checks, "model_of", lambda label: priced("base_cost"))
    assert ids() == []


def test_a_snapshot_that_can_be_written_to(settings, monkeypatch):
    entry = connections["production"].settings_dict
    monkeypatch.setitem(entry, "NAME", settings.SNAPSHOT)
    (message,) = ours()
    assert message.id == "overlay.W009" and "mode=ro" in message.hint
    monkeypatch.setitem(entry, "NAME", "file:memorydb_production?mode=memory&cache=shared")
    assert ids() == []


def test_the_app_is_missing(settings):
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "overlay"]
    with pytest.raises(ImproperlyConfigured, match='add "overlay" to INSTALLED_APPS'):
        ShadowRouter()


# What only the databases know.


def check(shop):
    return shop("check", "--database=default").stderr


def renumber(shop, *statements):
    """Give rows of production other keys, as a site that has grown for years has; a snapshot."""
    with closing(sqlite3.connect(shop.folder / "live.sqlite3")) as live, live:
        for statement in statements:
            live.execute(statement)
    shop.does("snapshot", live=True)


def test_content_types_that_differ(shop):
    renumber(
        shop,
        "UPDATE django_content_type SET id = 100 - id",
        "UPDATE auth_permission SET content_type_id = 100 - content_type_id",
    )
    said = check(shop)
    assert "(overlay.E008) 14 of the snapshot's 14 rows of contenttypes.ContentType" in said
    assert "auth.Permission are not" not in said  # what refers to them is shadowed too
    cure = "shadow contenttypes.ContentType auth.Permission --replace"
    assert f"HINT: Run: python manage.py {cure}\n" in said
    assert "overlay.E008" in shop("migrate").stderr
    shop.does(*cure.split())
    assert check(shop) == ""
    shop.does("migrate")
    assert check(shop) == ""


def test_permissions_that_rows_of_the_snapshot_refer_to(shop):
    renumber(shop, "UPDATE auth_permission SET id = 1000 - id")
    assert check(shop) == ""
    settings = shop.folder / "shop/settings.py"
    settings.write_text(
        settings.read_text().replace('"auth", ', '"auth.Permission", "auth.User", ')
    )
    said = check(shop)
    assert "of auth.Permission are not the same here" in said and said.count("E008") == 1


def test_content_types_of_the_snapshot(shop):
    renumber(shop, "UPDATE django_content_type SET id = 100 - id")
    settings = shop.folder / "shop/settings.py"
    settings.write_text(settings.read_text().replace('"contenttypes", ', ""))
    assert check(shop) == ""


def test_a_content_type_that_is_new_here(shop):
    shop.does(
        "shell",
        "-c",
        "from django.contrib.contenttypes.models import ContentType as C;"
        "C.objects.create(app_label='new', model='new')",
    )
    assert check(shop) == ""


def test_no_snapshot(shop):
    """``tests/test_overlay.py`` has what ``migrate`` says of it."""
    (shop.folder / "snapshot.sqlite3").unlink()
    assert "(overlay.E001) There is no snapshot" in check(shop)


def test_a_wrong_setting_does_not_reach_the_databases(shop):
    settings = shop.folder / "shop/settings.py"
    settings.write_text(settings.read_text().replace('"products.Product"', '"products.Clock"'))
    said = check(shop)
    assert "overlay.E003" in said and "Traceback" not in said
