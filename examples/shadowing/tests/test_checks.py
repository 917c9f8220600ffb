"""What ``manage.py check`` says about a project that has forgotten a line, and of a right one."""

import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from customers.models import Customer
from overlay import checks
from overlay.routers import ShadowRouter
from products.models import Product
from reviews.models import Review
from tests.marks import files, rows

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
    with pytest.raises(ImproperlyConfigured, match=f"^{name} must be .* Write {name} = "):
        checks.require_settings()


@pytest.mark.parametrize("name", checks.SETTINGS)
def test_a_setting_is_missing(shop, name):
    with shop.settings.open("a") as file:
        file.write(f"del {name}\n")
    for command in "check", "migrate":
        said = shop(command).stderr.splitlines()[-1]
        assert said.startswith(f"django.core.exceptions.ImproperlyConfigured: {name} must be ")


@pytest.mark.parametrize("name", ["SHADOWED", "OVERLAID"])
def test_a_text_is_no_list(settings, name):
    setattr(settings, name, "reviews.Review")
    with pytest.raises(ImproperlyConfigured, match=f"^{name} must be a list of names"):
        checks.require_settings()


@pytest.mark.parametrize("name", ["LOCAL_DATABASE", "SNAPSHOT_DATABASE"])
def test_an_alias_that_is_no_database(settings, name):
    setattr(settings, name, "elsewhere")
    (message,) = ours()
    assert message.id == "overlay.E002"
    assert message.msg == f'{name} names "elsewhere", which is not in DATABASES.'
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
    assert message.msg.startswith(f'{name} names "{label}", which is not a model')


def test_the_cache_in_the_database(shop):
    """It has no model, and asks the router: named as `NotLocal` says, its table is made here."""
    with (shop.folder / "shop" / "settings.py").open("a") as settings:
        settings.write(
            'CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", '
            '"LOCATION": "entries"}}\n'
        )
    write = "from django.core.cache import cache; cache.set('a', 1); print(cache.get('a'))"
    refused = shop("shell", "-v0", "-c", write).stderr.splitlines()[-1]
    assert refused.startswith("overlay.routers.NotLocal: django_cache.cacheentry is read from")
    with (shop.folder / "shop" / "settings.py").open("a") as settings:
        settings.write('SHADOWED.append("django_cache")\n')
    assert "no issues" in shop.does("check")
    shop.does("createcachetable")
    assert shop.does("shell", "-v0", "-c", write) == "1\n"


def test_no_cache_in_the_database(settings):
    settings.SHADOWED = ["django_cache"]
    assert ids() == ["overlay.E003"]


@pytest.mark.parametrize("label", ["products", "products.Product", "Products.product"])
def test_a_model_in_both(settings, label):
    settings.SHADOWED = [label]
    settings.OVERLAID = ["products.Product"]
    (message,) = ours()
    assert message.id == "overlay.E004"
    assert message.msg == "products.Product is in both SHADOWED and OVERLAID."


@pytest.fixture
def register():
    """Add models to the project's: theirs are then among all that are checked."""
    before = {label: models.copy() for label, models in apps.all_models.items()}
    yield
    for label, models in apps.all_models.items():
        models.clear()
        models.update(before.get(label, {}))
    apps.clear_cache()


@pytest.mark.parametrize("name", ["SHADOWED", "OVERLAID"])
def test_a_proxy_has_no_table(settings, register, name):
    class Famous(Customer):
        class Meta:
            proxy = True
            app_label = "customers"

    assert ids() == []
    setattr(settings, name, [*getattr(settings, name), "customers.Famous"])
    (message,) = ours()
    assert message.id == "overlay.E003" and message.hint == "Name customers.Customer instead."


@pytest.mark.parametrize(
    ("parent", "shadowed", "said"),
    [
        (Review, [], "reviews.Review is local, but reviews.Child is not"),
        (Review, ["reviews.Child"], None),
        (Product, ["reviews.Child"], None),
        (Customer, [], None),
        (Customer, ["reviews.Child"], "reviews.Child is local, but customers.Customer is not"),
    ],
)
def test_a_model_and_its_parent_are_local_both_or_neither(
    settings, register, parent, shadowed, said
):
    class Child(parent):
        class Meta:
            app_label = "reviews"

    settings.SHADOWED = [*settings.SHADOWED, *shadowed]
    found = ours()
    assert [message.id for message in found] == ["overlay.E010"] * bool(said)
    if said:
        assert found[0].msg.startswith(f"{said}. Each object of Child has a row")


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


@rows
def test_another_engine(settings, monkeypatch):
    monkeypatch.setattr(checks, "connections", {**connections_by_alias(), "default": object()})
    (message,) = ours()
    assert message.id == "overlay.E006" and '"ENGINE": "overlay.backend"' in message.hint
    settings.OVERLAID = []
    assert ids() == []


def connections_by_alias():
    return {alias: connections[alias] for alias in connections}


@files
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
    shop.query("live", *statements)
    shop.snapshot()


def test_a_new_local_database_takes_the_keys_of_the_snapshot(shop):
    """Else each page that asks for a type finds another; types that are new here come after."""
    renumber(
        shop,
        "UPDATE django_content_type SET id = 100 - id",
        "UPDATE auth_permission SET content_type_id = 100 - content_type_id, id = 1000 - id",
        "DELETE FROM django_content_type WHERE model = 'review'",
        "DELETE FROM auth_permission WHERE codename LIKE '%_review'",
    )
    shop.lose("local")
    shop.does("migrate")
    assert check(shop) == ""
    for table, columns, extra in (
        ("django_content_type", "id, app_label, model", 1),
        ("auth_permission", "id, name, content_type_id, codename", 4),
    ):
        here, there = (
            set(shop.query(name, f"SELECT {columns} FROM {table}"))
            for name in ("local", "snapshot")
        )
        assert there < here and len(here - there) == extra
    shop.does("flush", "--no-input")
    assert check(shop) == ""


def test_content_types_that_differ(shop):
    renumber(
        shop,
        "UPDATE django_content_type SET id = 100 - id",
        "UPDATE auth_permission SET content_type_id = 100 - content_type_id",
    )
    said = check(shop)
    assert "(overlay.E008) 14 of the snapshot's 14 rows of contenttypes.ContentType" in said
    assert "auth.Permission are" not in said  # what refers to them is shadowed too
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
    assert "of auth.Permission are missing or different" in said and said.count("E008") == 1


def test_content_types_of_the_snapshot(shop):
    renumber(
        shop,
        "UPDATE django_content_type SET id = 100 - id",
        "UPDATE auth_permission SET content_type_id = 100 - content_type_id",
    )
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
    if connections["production"].vendor == "sqlite":
        shop.lose("snapshot")
        assert "(overlay.E001) There is no snapshot" in check(shop)
        return
    shop.drop("snapshot")
    assert '(overlay.E001) Database "production" (the snapshot): ' in check(shop)
    assert "Traceback" not in check(shop)


def test_a_wrong_setting_does_not_reach_the_databases(shop):
    settings = shop.folder / "shop/settings.py"
    settings.write_text(settings.read_text().replace('"products.Product"', '"products.Clock"'))
    said = check(shop)
    assert "overlay.E003" in said and "Traceback" not in said
