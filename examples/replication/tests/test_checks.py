"""The messages of ``manage.py check``: one for each wrong setting, none for correct settings."""

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core import mail
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connections

from replicas import checks, health
from replicas.consistency import ReadYourWritesMiddleware
from replicas.positions import LogPosition
from replicas.reading import is_primary_only
from replicas.routers import ReplicaRouter
from tests.engines import only_sqlite

OURS = "replicas.consistency.ReadYourWritesMiddleware"


class OwnMiddleware(ReadYourWritesMiddleware):
    pass


class OwnRouter(ReplicaRouter):
    pass


class PrimaryRouter:
    """A router in a module that does not import ``replicas.reading``."""


class OtherPosition(LogPosition):
    vendor = "oracle"


class NoPosition:
    pass


@pytest.fixture
def outside_tests(shop, monkeypatch):
    """Run the checks as outside a test run. In a test run, Django sets ``mail.outbox``."""
    monkeypatch.delattr(mail, "outbox")


@pytest.fixture
def entry(monkeypatch):
    """Change the entry of an alias in ``DATABASES``."""

    def change(alias, **items):
        for key, value in items.items():
            monkeypatch.setitem(connections[alias].settings_dict, key, value)

    return change


def ours(**kwargs):
    """Return the messages of this app; each has a hint."""
    # The checks of the shop's models are left out, because on MariaDB, Django 6.1 executes a query
    # for the server's version there.
    found = run_checks(app_configs=[apps.get_app_config("replicas")], **kwargs)
    messages = [m for m in found if m.id.startswith("replicas.")]
    assert all(message.hint for message in messages)
    return messages


def ids(**kwargs):
    return [message.id for message in ours(**kwargs)]


def test_the_project_is_right(outside_tests):
    assert ids(include_deployment_checks=True, databases=list(connections)) == []


def test_so_it_is_with_mirrors(entry):
    """In a test run, ``MIRROR`` gives a replica the ``NAME`` of its primary."""
    for alias in ("replica1", "replica2"):
        entry(alias, NAME=connections["default"].settings_dict["NAME"])
    assert ids() == []


@pytest.mark.parametrize("value", [["replica1"], "replica1", None, {"default": "replica1"}])
def test_another_shape(settings, value):
    settings.REPLICAS = value
    (message,) = ours()
    assert message.id == "replicas.E001"
    assert '{"default": ["replica1", "replica2"]}' in message.hint


def test_no_replicas_at_all(settings):
    del settings.REPLICAS
    assert ids() == ["replicas.E001"]
    settings.REPLICAS = {}
    assert ids() == []


@pytest.mark.parametrize("value", [{"default": ["replica3"]}, {"replica3": ["replica1"]}])
def test_an_alias_that_is_unknown(settings, value):
    settings.REPLICAS = value
    (message,) = ours()
    assert message.id == "replicas.E002" and '"replica3"' in message.msg


@pytest.mark.parametrize("mirror", [None, "replica1"])
def test_no_mirror_or_another(outside_tests, entry, mirror):
    entry("replica2", TEST={**connections["replica2"].settings_dict["TEST"], "MIRROR": mirror})
    (message,) = ours()
    assert message.id == "replicas.E003"
    assert message.hint == 'Write in DATABASES["replica2"]: "TEST": {"MIRROR": "default"}'


@only_sqlite("OPTIONS can choose a server: see test_servers_that_their_options_tell_apart")
def test_a_replica_that_can_not_be_told_from_the_primary(outside_tests, entry):
    """On SQLite, OPTIONS do not change which file is opened."""
    name = connections["default"].settings_dict["NAME"]
    entry("replica1", NAME=name, OPTIONS={"timeout": 7})
    assert ids() == ["replicas.E004"]
    entry("replica1", PORT="5433")
    assert ids() == []


@pytest.mark.parametrize("options", [{"target_session_attrs": "any"}, {"service": "standby"}])
def test_servers_that_their_options_tell_apart(entry, monkeypatch, options):
    """Both entries have the same list of hosts, or a service in libpq's file names the server."""
    for alias in ("default", "replica1"):
        entry(alias, NAME="shop", HOST="one,two", OPTIONS={"target_session_attrs": "read-write"})
        monkeypatch.setattr(connections[alias], "vendor", "postgresql")
    assert health.same_entry(connections["replica1"], connections["default"])
    entry("replica1", OPTIONS=options)
    assert not health.same_entry(connections["replica1"], connections["default"])


def test_the_middleware_is_missing(settings):
    settings.MIDDLEWARE = [path for path in settings.MIDDLEWARE if path != OURS]
    (message,) = ours()
    assert message.id == "replicas.E005" and OURS in message.hint


def test_the_middleware_is_after_that_of_the_sessions(settings):
    rest = [path for path in settings.MIDDLEWARE if path != OURS]
    settings.MIDDLEWARE = [*rest, OURS]
    assert ids() == ["replicas.E006"]
    settings.MIDDLEWARE = [OURS, *rest]
    assert ids() == []


def test_a_middleware_and_a_router_of_ones_own(settings):
    settings.MIDDLEWARE = ["test_checks.OwnMiddleware"]
    settings.DATABASE_ROUTERS = ["test_checks.OwnRouter"]
    assert ids() == []


@pytest.mark.parametrize("routers", [[], ["test_checks.PrimaryRouter"]])
def test_no_router_reads_from_replicas(settings, routers):
    settings.DATABASE_ROUTERS = routers
    assert ids() == ["replicas.W007"]


@pytest.mark.parametrize("name", ["REPLICA_MAX_LAG", "REPLICA_RETRY"])
@pytest.mark.parametrize("value", ["60", None, -5, float("nan")])
def test_seconds_that_are_none(settings, name, value):
    setattr(settings, name, value)
    (message,) = ours()
    assert message.id == "replicas.E013" and name in message.msg and name in message.hint
    delattr(settings, name)
    assert ids() == ["replicas.E013"]
    setattr(settings, name, 0)
    assert ids() == []


@pytest.mark.parametrize("name", ["REPLICA_PRIMARY_APPS", "REPLICA_UNNOTED_APPS"])
@pytest.mark.parametrize("wrong", ["django.contrib.sessions", "session", "auth.Usr", 7])
def test_a_label_that_is_nobodys(settings, name, wrong):
    setattr(settings, name, ["auth", "reviews.Review", "Auth.user", wrong])
    (message,) = ours()
    assert message.id == "replicas.E014" and name in message.msg and repr(wrong) in message.msg


@pytest.mark.parametrize("name", ["REPLICA_PRIMARY_APPS", "REPLICA_UNNOTED_APPS"])
@pytest.mark.parametrize("value", ["sessions", None])
def test_labels_that_are_no_list(settings, name, value):
    setattr(settings, name, value)
    (message,) = ours()
    assert message.id == "replicas.E014" and f"Write {name} = " in message.hint


def test_a_label_is_known_in_any_case(settings):
    """Upper and lower case do not matter, as in AUTH_USER_MODEL."""
    for label in ("auth.User", "auth.user", "AUTH"):
        settings.REPLICA_PRIMARY_APPS = [label]
        assert is_primary_only(User)


def test_a_position_of_another_engine(settings):
    settings.REPLICA_POSITION = "test_checks.OtherPosition"
    message, *others = ours()
    assert message.id == "replicas.E008" and len(others) == 2
    vendor = connections["default"].vendor
    assert "is for oracle" in message.msg and f"on {vendor}" in message.msg


def test_a_replica_of_another_engine(monkeypatch):
    monkeypatch.setattr(connections["replica2"], "vendor", "oracle")
    (message,) = ours()
    assert message.id == "replicas.E008" and '"replica2" is on oracle' in message.msg


@pytest.mark.parametrize("path", [None, "", "test_checks.Nothing", "test_checks.NoPosition"])
def test_no_position(settings, path):
    settings.REPLICA_POSITION = path
    assert ids() == ["replicas.E008"]


@pytest.mark.parametrize(
    ("alias", "id"), [("replica1", "replicas.E009"), ("default", "replicas.W010")]
)
def test_atomic_requests(entry, alias, id):
    entry(alias, ATOMIC_REQUESTS=True)
    (message,) = ours()
    assert message.id == id and f'"{alias}"' in message.msg


def test_the_app_is_missing(settings):
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "replicas"]
    assert not apps.is_installed("replicas")
    with pytest.raises(ImproperlyConfigured, match='add "replicas" to INSTALLED_APPS'):
        ReadYourWritesMiddleware(lambda request: None)


class Server:
    """A fake connection to PostgreSQL. ``test_postgres`` has real connections."""

    vendor = "postgresql"

    def __init__(self, in_recovery=False, sees_receiver=True):
        self.answer = in_recovery, sees_receiver
        self.settings_dict = {"USER": "shop"}


class MariaDB:
    """A fake connection to MariaDB or MySQL. ``test_mariadb`` has real connections to MariaDB."""

    vendor = "mysql"

    def __init__(self, read_only=1, logs=1, applied="0-1-42", may_write=0, is_mariadb=True):
        self.answer = read_only, logs, applied, may_write
        self.mysql_is_mariadb = is_mariadb


def away():
    server = Server()
    server.answer = None
    return server


@pytest.fixture
def servers(monkeypatch, outside_tests):
    """Return a function that runs the checks of two fake servers, and returns their ids."""

    def answer(server, sql):
        if server.answer is None:
            raise OperationalError("connection refused")
        return server.answer

    monkeypatch.setattr(checks, "ask", answer)

    def check(primary, replica):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checks, "connections", {"default": primary, "replica1": replica})
            patch.setattr(checks.settings, "REPLICAS", {"default": ["replica1"]})
            return [
                message.id for message in checks.check_servers(databases=["default", "replica1"])
            ]

    return check


def test_what_only_servers_know(servers):
    assert servers(Server(), Server(in_recovery=True)) == []
    assert servers(Server(sees_receiver=False), Server(in_recovery=True)) == []
    assert servers(Server(), Server(in_recovery=True, sees_receiver=False)) == ["replicas.W011"]
    assert servers(Server(), Server()) == ["replicas.E012"]
    assert servers(Server(), Server(sees_receiver=False)) == ["replicas.E012"]
    assert servers(away(), away()) == []


def test_what_only_mariadb_servers_know(servers):
    primary = MariaDB(read_only=0, applied="", may_write=1)
    assert servers(primary, MariaDB()) == []
    assert servers(primary, MariaDB(logs=0)) == []  # no server replicates from it
    assert servers(MariaDB(read_only=0, applied="", logs=0), MariaDB()) == ["replicas.W016"]
    assert servers(primary, MariaDB(read_only=0)) == ["replicas.E012"]
    assert servers(primary, MariaDB(applied="")) == ["replicas.E012"]
    assert servers(primary, MariaDB(may_write=1)) == ["replicas.W017"]
    assert servers(primary, MariaDB(is_mariadb=False)) == ["replicas.E015"]
