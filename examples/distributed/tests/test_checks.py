"""What ``manage.py check`` says about wrong settings and servers."""

import pytest
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection, connections, models
from django.test.utils import isolate_apps

from conftest import needs_nodes
from customers.models import Customer
from distributed import checks, tables
from distributed.apps import DistributedConfig
from distributed.engines import add_guard
from sharding.fields import KeyField

pytestmark = pytest.mark.django_db(databases="__all__")


def ids(errors):
    return [error.id.removeprefix("distributed.") for error in errors]


def test_right_settings():
    for check in ("check_nodes", "check_apps", "check_models", "check_router"):
        assert getattr(checks, check)() == []
    assert checks.check_servers(databases=["default"]) == []


@pytest.mark.parametrize("name", ["NODES", "COORDINATOR", "DISTRIBUTED_APPS"])
def test_a_missing_setting(settings, name):
    delattr(settings, name)
    import distributed

    with pytest.raises(ImproperlyConfigured, match=f"needs {name}. Write {name} = "):
        DistributedConfig("distributed", distributed).ready()


def test_an_alias_that_is_not_in_databases(settings):
    settings.NODES = [*settings.NODES, "node9"]
    (error,) = checks.check_nodes()
    assert error.msg == 'NODES names "node9", which is not in DATABASES.'
    settings.COORDINATOR = "all"
    assert ids(checks.check_nodes()) == ["E001", "E001"]


def test_sqlite_has_no_nodes(settings):
    if connection.vendor != "sqlite":
        pytest.skip("this database is on an engine with nodes")
    settings.DATABASES["node0"] = settings.DATABASES["default"]
    try:
        settings.NODES = ["node0"]
        (error,) = checks.check_nodes()
    finally:
        del settings.DATABASES["node0"]
    assert error.msg == (
        'The coordinator "default" is on SQLite, which can\'t have rows on other servers.'
    )
    with pytest.raises(CommandError, match="the coordinator is on SQLite"):
        call_command("sqlnodes")


@needs_nodes
def test_the_same_alias_twice(settings):
    for more in ("default", "node0"):
        settings.NODES = ["node0", "node1", "node2", more]
        assert ids(checks.check_nodes()) == ["E002"]


@needs_nodes
@pytest.mark.parametrize(
    ("key", "value", "code"),
    [("HOST", "", "E006"), ("ENGINE", None, "W005")],
)
def test_the_entry_of_a_server(monkeypatch, key, value, code):
    alias = "node1" if code == "E006" else "default"
    engine = f"django.db.backends.{connection.vendor}"
    monkeypatch.setitem(settings.DATABASES[alias], key, value if value is not None else engine)
    (error,) = checks.check_nodes()
    assert ids([error]) == [code] and alias in error.msg


@needs_nodes
def test_a_node_of_another_engine(monkeypatch):
    monkeypatch.setattr(connections["node2"], "vendor", "sqlite")
    assert ids(checks.check_nodes()) == ["E004"]


class Elsewhere:
    """Creates all tables everywhere."""

    def allow_migrate(self, db, app_label, **hints):
        return True


@needs_nodes
def test_the_router(settings):
    for routers in ([], [Elsewhere(), "distributed.routers.NodeRouter"]):
        settings.DATABASE_ROUTERS = routers
        assert ids(checks.check_router()) == ["E008"]
    settings.DATABASE_ROUTERS = ["distributed.routers.NodeRouter", Elsewhere()]
    assert checks.check_router() == []


def test_an_app_that_is_not_installed(settings):
    settings.DISTRIBUTED_APPS = {"customers", "suppliers"}
    (error,) = checks.check_apps()
    assert error.msg == 'DISTRIBUTED_APPS names "suppliers", but no installed app has this label.'


@needs_nodes
def test_the_models(monkeypatch):
    with isolate_apps("customers"):

        class Invoice(models.Model):  # noqa: DJ008
            class Meta:
                app_label = "customers"

        class Letter(models.Model):  # noqa: DJ008
            id = KeyField()

            class Meta:
                app_label = "customers"

    monkeypatch.setattr(apps, "get_models", lambda **kwargs: [Customer, Invoice, Letter])
    made, local = checks.check_models()
    assert ids([made, local]) == ["E013", "W014"]
    assert made.msg.startswith("The database makes the keys of customers.Invoice")
    assert local.msg.startswith("No migration distributes customers.Letter")


@needs_nodes
def test_a_node_that_the_coordinator_does_not_know(monkeypatch):
    node = connections["node2"].settings_dict
    monkeypatch.setitem(settings.DATABASES, "node3", node)
    monkeypatch.setitem(connections.settings, "node3", node)
    monkeypatch.setattr(settings, "NODES", [*settings.NODES, "node3"])
    monkeypatch.setattr(checks, "has_guard", lambda connection, model: True)
    try:
        unknown, *lost = checks.check_servers(databases=["default"])
        assert unknown.msg == 'The coordinator does not know the node "node3".'
        assert "sqlnodes" in unknown.hint
        assert ids([unknown, *lost]) == ["E009", "E010", "E010"]
        assert lost[0].msg == "The table customers_customer has no partition on: node3."
    finally:
        del connections["node3"]


@needs_nodes
@pytest.mark.django_db(databases="__all__", transaction=True)
def test_a_node_without_its_guard():
    table, name = Customer._meta.db_table, "customers_customer_of_node"
    with connections["node1"].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        try:
            (error,) = checks.check_servers(databases=["default"])
        finally:
            (customers, _) = tables.distributed()
            sql = add_guard(connections["node1"], customers.model, customers.field)
            cursor.execute(sql)
    assert error.msg == f'The node "node1" accepts rows of other nodes in the table {table}.'
    assert error.hint.endswith(sql)
    assert checks.check_servers(databases=["default"]) == []
