"""The app ``multidb_checks``: each fault is found, and the project as it is has none.

A test makes a fault by other routers, by other entries of ``DATABASES``, or by a field. No table is
needed, because the checks open no connection.
"""

import random
import types

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.core.checks import run_checks
from django.db import connections, models, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration, RunPython, RunSQL, SeparateDatabaseAndState

from multidb_checks import answers, data_migrations
from products.models import Product
from reviews.models import Review
from shop.routers import FunctionalRouter


@pytest.fixture(autouse=True)
def no_connection(monkeypatch):
    def connect(self):
        raise AssertionError(f"a check connects to {self.alias}")

    monkeypatch.setattr(BaseDatabaseWrapper, "connect", connect)


@pytest.fixture
def routers(monkeypatch):
    """A function that replaces ``DATABASE_ROUTERS``."""

    def replace(*items):
        monkeypatch.setattr(router, "routers", list(items))

    return replace


@pytest.fixture
def entry(monkeypatch):
    """A function that adds an entry to ``DATABASES``: a copy of ``default``, with changes."""

    def add(alias, mirror=None, **changes):
        test = connections.settings["default"]["TEST"] | {"MIRROR": mirror}
        settings = connections.settings["default"] | {"NAME": alias, "TEST": test} | changes
        monkeypatch.setitem(connections.settings, alias, settings)

    return add


def found(**kwargs):
    """Return the messages of this app, by the number."""
    messages = {}
    for message in run_checks(tags=["multidb"], **kwargs):
        prefix, number = message.id.split(".")
        assert prefix == "multidb" and message.hint.endswith((".", "}"))
        messages.setdefault(number, []).append(message.msg)
    return messages


def single(number, **kwargs):
    """Return the only message of this app, which must have this number."""
    messages = found(**kwargs)
    assert list(messages) == [number], messages
    (message,) = messages[number]
    return message


class ByApp(FunctionalRouter):
    """The project's router, with other databases for some apps."""

    def __init__(self, **databases):
        self.databases = {"reviews": "reviews"} | databases


class ByModel(FunctionalRouter):
    """A router for which the name of the model decides."""

    def __init__(self, *names):
        self.names = names

    def db_for_read(self, model, **hints):
        return "reviews" if model._meta.model_name in self.names else "default"

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, model_name=None, **hints):
        return db == ("reviews" if model_name in self.names else "default")


def test_the_project_has_no_fault():
    assert found() == {}


def test_a_project_without_routers_has_no_fault_with_one_database(routers, monkeypatch):
    routers()
    monkeypatch.delitem(connections.settings, "reviews")
    assert found() == {}


# Relations


@pytest.fixture
def key(monkeypatch):
    """A function that changes the foreign key ``LogEntry.user``, as if the model were ours."""
    field = LogEntry._meta.get_field("user")

    def change(db_constraint=True, on_delete=models.CASCADE):
        monkeypatch.setattr(field, "db_constraint", db_constraint)
        monkeypatch.setattr(field.remote_field, "on_delete", on_delete)

    monkeypatch.setattr(LogEntry, "__module__", "reviews.models")
    return change


def only(number):
    """Return the messages with this number that are about the user of the admin's log."""
    return [message for message in found().get(number, []) if "LogEntry.user" in message]


def test_a_foreign_key_with_a_constraint(routers, key):
    routers(ByApp(auth="reviews", contenttypes="reviews"))
    key()
    (message,) = only("E001")
    assert message == (
        'admin.LogEntry.user is a foreign key from "default" to auth.User in "reviews". The '
        "database cannot check its constraint, so migrations or inserts fail."
    )


@pytest.mark.parametrize(
    ("on_delete", "number"), [(models.CASCADE, "W002"), (models.DO_NOTHING, "W003")]
)
def test_a_foreign_key_without_a_constraint(routers, key, on_delete, number):
    routers(ByApp(auth="reviews", contenttypes="reviews"))
    key(db_constraint=False, on_delete=on_delete)
    (message,) = only(number)
    assert "is a foreign key without a constraint" in message
    assert ("on_delete" in message) == (number == "W002")


def test_a_foreign_key_of_a_table_that_is_not_ours(routers, key, monkeypatch):
    routers(ByApp(auth="reviews", contenttypes="reviews"))
    key()
    monkeypatch.setattr(LogEntry._meta, "managed", False)
    assert only("W002") and not only("E001")


def test_a_foreign_key_that_crosses_only_in_reads(routers, key):
    class Reads(FunctionalRouter):
        def db_for_read(self, model, **hints):
            return "reviews" if model is LogEntry else "default"

    routers(Reads())
    key()
    assert only("E001")


def test_a_many_to_many_field(routers, monkeypatch):
    monkeypatch.setattr(Group, "__module__", "reviews.models")
    routers(ByModel("permission"))
    (message,) = (m for m in found()["E004"] if "Group.permissions" in m)
    assert message == (
        'auth.Group.permissions is a many-to-many field from "default" to auth.Permission in '
        '"reviews". No query can join its three tables.'
    )


def test_the_table_of_a_many_to_many_field(routers, monkeypatch):
    """Both models are in one database, but the table between them is not."""
    monkeypatch.setattr(Group, "__module__", "reviews.models")
    routers(ByModel("group_permissions"))
    assert any("Group.permissions" in message for message in found()["E004"])


@pytest.mark.parametrize(
    ("apps", "pairs"),
    [
        (["auth"], [("admin", "auth"), ("auth", "contenttypes")]),
        (["contenttypes"], [("admin", "contenttypes"), ("auth", "contenttypes")]),
        (["admin"], [("admin", "auth"), ("admin", "contenttypes")]),
        (["auth", "contenttypes", "admin"], []),
        (["sessions"], []),
    ],
)
def test_contrib_apps_apart(routers, apps, pairs):
    routers(ByApp(**dict.fromkeys(apps, "reviews")))
    messages = found()
    assert set(messages) <= {"E005"}
    for (app, other), message in zip(pairs, sorted(messages.get("E005", [])), strict=True):
        assert f'of "{app}"' in message and f'of "{other}"' in message


def test_a_router_that_needs_a_hint_is_not_judged(routers):
    class Raises(FunctionalRouter):
        def db_for_write(self, model, **hints):
            raise LookupError(model)

        db_for_read = db_for_write

    routers(Raises())
    assert found() == {}


class Shards(FunctionalRouter):
    """Raises without a key, as a router for shards does. The products are on each shard."""

    def db_for_write(self, model, **hints):
        if model is Review:
            raise LookupError
        return "default"

    db_for_read = db_for_write

    def allow_migrate(self, db, app_label, **hints):
        if app_label == "reviews":
            return db == "reviews"
        return db == "default" or app_label in self.everywhere

    everywhere = ()


@pytest.fixture
def review_of_product(monkeypatch):
    """Give reviews a foreign key to the products."""
    field = models.ForeignKey(Product, models.CASCADE)
    field.name, field.model = "product", Review
    monkeypatch.setattr(Review._meta, "local_fields", [*Review._meta.local_fields, field])


def test_a_key_from_a_shard_to_a_table_in_default(routers, review_of_product):
    routers(Shards())
    assert "reviews.Review.product" in single("E001")


def test_a_key_from_a_shard_to_a_table_that_each_shard_has(routers, review_of_product, monkeypatch):
    monkeypatch.setattr(Shards, "everywhere", ["products"])
    routers(Shards())
    assert found() == {}


def test_a_router_that_always_says_true_does_not_choose(routers, review_of_product):
    """The table of products is in both databases, but its rows are in one of them."""

    class AlwaysTrue(FunctionalRouter):
        def allow_migrate(self, db, app_label, **hints):
            return True

    routers(AlwaysTrue())
    assert "reviews.Review.product" in found()["E001"][0]


# Routers


def test_an_alias_that_does_not_exist(routers):
    routers(ByApp(products="ratings"))
    messages = found()["E006"]
    assert len(messages) == 2  # for reads and for writes
    assert messages[0] == (
        f'db_for_read() of {__name__}.ByApp returns "ratings" for products.Product, '
        'but DATABASES has no entry "ratings".'
    )


class Replicas(FunctionalRouter):
    """Reads from one of several replicas."""

    replicas = ["replica1", "replica2"]

    def db_for_read(self, model, **hints):
        return random.choice(self.replicas)

    def db_for_write(self, model, **hints):
        return "default"

    def allow_relation(self, obj1, obj2, **hints):
        return True

    def allow_migrate(self, db, app_label, **hints):
        return db == "default"


@pytest.fixture
def replicas(entry):
    """A function that adds two replicas."""

    def add(mirror="default", **changes):
        entry("replica1", mirror, **changes)
        entry("replica2", mirror, **changes)

    return add


def test_replicas_are_no_fault(routers, replicas):
    replicas()
    routers(Replicas())
    assert found() == {}


def test_databases_with_the_same_address_hold_the_same_rows(routers, replicas, settings):
    name = connections.settings["default"]["NAME"]
    replicas(mirror=None, NAME=name, USER="reader")
    routers(Replicas())
    assert found() == {}


def test_reads_by_turns_without_mirror(routers, replicas):
    replicas(mirror=None)
    routers(Replicas())
    message = single("W008")
    assert message.startswith(f"db_for_read() of {__name__}.Replicas returns ")
    assert '"replica1" and "replica2" by turns for' in message


def test_writes_by_turns(routers):
    class Turns(FunctionalRouter):
        def db_for_write(self, model, **hints):
            if model is Product:
                return random.choice(["default", "reviews"])
            return super().db_for_write(model, **hints)

    routers(Turns())
    (message,) = found()["E007"]
    assert 'returns "default" and "reviews" by turns for products.Product.' in message


def test_a_router_that_answers_only_reads(routers, replicas):
    class OnlyReads:
        def db_for_read(self, model, **hints):
            return "replica1"

    replicas()
    routers(OnlyReads(), types.SimpleNamespace(allow_migrate=Replicas().allow_migrate))
    message = found()["W009"][0]
    assert 'returns "replica1"' in message and "no router answers db_for_write()" in message


def test_a_router_that_answers_only_writes(routers):
    class OnlyWrites:
        def db_for_write(self, model, **hints):
            return FunctionalRouter().db_for_write(model)

        allow_migrate = FunctionalRouter.allow_migrate
        database_of = FunctionalRouter.database_of
        databases = FunctionalRouter.databases

    routers(OnlyWrites())
    assert single("W010") == (
        'Rows of reviews.Review are written to "reviews", but read from "default", because no '
        "router answers db_for_read()."
    )


def test_a_replica_without_mirror(routers, replicas, monkeypatch):
    monkeypatch.setattr(Replicas, "replicas", ["replica1"])
    replicas(mirror=None)
    routers(Replicas())
    assert 'written to "default", but read from "replica1"' in single("W010")


def test_two_routers_answer_together(routers):
    """The first answers for reads, the second for writes."""
    whole = FunctionalRouter()
    routers(
        types.SimpleNamespace(db_for_read=whole.db_for_read),
        types.SimpleNamespace(db_for_write=whole.db_for_write, allow_migrate=whole.allow_migrate),
    )
    assert found() == {}


@pytest.mark.parametrize("answer", [None, False])
def test_a_relation_between_two_copies_is_refused(routers, replicas, monkeypatch, answer):
    replicas()
    monkeypatch.setattr(Replicas, "allow_relation", lambda self, *args, **hints: answer)
    routers(Replicas())
    messages = found()
    assert list(messages) == ["W011"]
    assert "admin.LogEntry.user" in messages["W011"][0]


class Naive:
    """A router that answers for its own app, and returns None for all others."""

    def db_for_read(self, model, **hints):
        return "reviews" if model._meta.app_label == "reviews" else None

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints):
        return db == "reviews" if app_label == "reviews" else None


def test_the_tables_of_others(routers):
    routers(Naive())
    assert single("W012") == (
        "allow_migrate() lets the tables of admin, auth, contenttypes and 2 more into "
        '"reviews", but the routers read and write them in "default".'
    )


def test_the_tables_of_others_in_default(routers):
    class OtherSide(Naive):
        def allow_migrate(self, db, app_label, **hints):
            return app_label == "reviews" if db == "reviews" else None

    routers(OtherSide())
    assert single("W012") == (
        'allow_migrate() lets the tables of reviews into "default", but the routers read and '
        'write them in "reviews".'
    )


def test_tables_that_a_router_chooses_and_leaves_the_others(routers):
    """As the router of an app whose tables are in each database."""

    class Chooses:
        def allow_migrate(self, db, app_label, **hints):
            return True if app_label == "sessions" else None

    routers(Chooses(), FunctionalRouter())
    assert found() == {}


def test_tables_that_a_router_chooses_for_two_databases(routers):
    class Chooses(FunctionalRouter):
        def allow_migrate(self, db, app_label, **hints):
            return app_label == "sessions" or super().allow_migrate(db, app_label, **hints)

    routers(Chooses())
    assert found() == {}


# Migrations


@pytest.fixture
def migrations(monkeypatch):
    """A function that adds a migration with these operations to the products."""

    def add(*operations, module="products.migrations.0002_trial"):
        migration = Migration("0002_trial", "products")
        migration.operations = operations
        monkeypatch.setattr(Migration, "__module__", module)

        def load_disk(self):
            self.disk_migrations = {("products", "0002_trial"): migration}

        monkeypatch.setattr(data_migrations.MigrationLoader, "load_disk", load_disk)

    return add


@pytest.mark.parametrize("operation", [RunPython(RunPython.noop), RunSQL("SELECT 1")])
def test_a_router_that_decides_by_the_name_of_the_model(routers, migrations, operation):
    class NamesModel(FunctionalRouter):
        def allow_migrate(self, db, app_label, model_name=None, **hints):
            return True if model_name is None else super().allow_migrate(db, app_label)

    routers(NamesModel())
    migrations(SeparateDatabaseAndState([operation]))
    message = single("W013")
    assert message == (
        'allow_migrate() keeps the models of these migrations out of "reviews", but not their '
        "RunPython and RunSQL: products.0002_trial. Django passes no model_name for these."
    )


def test_its_hints_are_passed(routers, migrations):
    class NamesModel(FunctionalRouter):
        def allow_migrate(self, db, app_label, model_name=None, **hints):
            return True if model_name is None else super().allow_migrate(db, app_label)

    routers(NamesModel())
    migrations(RunSQL("SELECT 1", hints={"model_name": "product"}))
    assert found() == {}


def forgets(apps, schema_editor):
    apps.get_model("products", "Product").objects.create(name="Egg timer", price=3)


def forgets_by_command(apps, schema_editor):
    from django.core.management import call_command

    call_command("loaddata", "clocks")


def forgets_by_connection(_apps, _editor):
    from django.db import connection

    connection.cursor().execute("UPDATE products_product SET price = 1")


def uses(apps, schema_editor):
    alias = schema_editor.connection.alias
    apps.get_model("products", "Product").objects.using(alias).create(name="Egg timer", price=3)


def uses_another_name(apps, editor):
    uses(apps, editor)


def names_a_database(apps, schema_editor):
    apps.get_model("products", "Product").objects.using("default").create(name="Timer", price=3)


def passes_a_database(apps, schema_editor):
    from django.core.management import call_command

    call_command("loaddata", "clocks", database="default")


def sends_no_query(_apps, schema_editor):
    print("done")


@pytest.mark.parametrize("function", [forgets, forgets_by_command, forgets_by_connection])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_function_that_forgets_the_alias(routers, migrations, function, backwards):
    routers()
    migrations(RunPython(*([RunPython.noop, function] if backwards else [function])))
    message = single("W014")
    assert message.startswith(
        f"{function.__name__}() of the migration products.0002_trial is run in "
        '"default" and "reviews", but does not mention schema_editor.'
    )


@pytest.mark.parametrize(
    "function",
    [
        uses,
        uses_another_name,
        names_a_database,
        passes_a_database,
        sends_no_query,
        RunPython.noop,
        print,  # has no source
        eval("lambda apps, schema_editor: apps.get_model('products', 'Product')"),  # neither
    ],
)
def test_a_function_that_is_no_fault(routers, migrations, function):
    routers()
    migrations(RunPython(function))
    assert found() == {}


def test_a_function_of_a_lambda(routers, migrations):
    routers()
    migrations(RunPython(lambda apps, schema_editor: apps.get_model("products", "Product")))
    assert "<lambda>() of the migration" in single("W014")


def test_a_function_that_runs_in_one_database(migrations):
    migrations(RunPython(forgets))
    assert found() == {}


def test_a_function_that_runs_on_a_replica_too(routers, replicas, migrations, monkeypatch):
    """Nobody migrates a replica, whatever the router says."""
    monkeypatch.delitem(connections.settings, "reviews")
    monkeypatch.setattr(Replicas, "allow_migrate", lambda *args, **hints: True)
    replicas()
    routers(Replicas())
    migrations(RunPython(forgets))
    assert found() == {}


def test_a_function_of_a_package_is_not_ours(routers, migrations):
    routers()
    migrations(RunPython(forgets), module="django.contrib.auth.migrations.0001_initial")
    assert found() == {}


# Entries


@pytest.fixture
def empty_default(entry):
    entry("default", ENGINE=answers.DUMMY, NAME="")


def test_an_empty_default_that_a_model_uses(routers, empty_default):
    routers(Naive())
    (message,) = found()["E015"]
    assert message.startswith('DATABASES["default"] is empty, but queries of ')


def test_an_empty_default_that_no_model_uses(routers, empty_default):
    class Everything(FunctionalRouter):
        def database_of(self, app_label):
            return "reviews"

    routers(Everything())
    assert single("W016").startswith('DATABASES["default"] is empty. Commands without --database')


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"HOST": "standby"}, "HOST differ"),
        ({"PORT": "5433"}, "PORT differ"),
        ({"HOST": "standby", "PORT": 5433}, "HOST, PORT differ"),
        ({"OPTIONS": {"service": "standby"}}, 'OPTIONS["service"] differ'),
    ],
)
def test_a_mirror_on_another_server(entry, changes, said):
    entry("replica1", "default", **changes)
    assert said in single("W017")


def test_a_mirror_of_nothing(entry):
    entry("replica1", "primary")
    assert single("E018") == (
        '"MIRROR" of DATABASES["replica1"] is "primary", but DATABASES has no entry "primary".'
    )


def test_in_tests_only_the_name_of_a_mirror_is_copied(entry):
    """This is why W017 is a fault. If Django copies more one day, W017 can go."""
    entry("replica1", "default", HOST="standby", PORT="5433")
    connection = connections.create_connection("replica1")
    before = dict(connection.settings_dict)
    connection.creation.set_as_test_mirror({"NAME": "x", "HOST": "h", "PORT": "1"} | {})
    after = connection.settings_dict
    assert {key for key in after if after[key] != before[key]} == {"NAME"}
