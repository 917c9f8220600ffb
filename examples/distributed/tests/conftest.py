import shutil

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, connections

from customers.models import Customer
from distributed.engines import ENGINES as DISTRIBUTED
from products.models import Product
from sharding.keys import new_key
from tests.cluster import ENGINES, Unavailable
from tests.engines import databases_of
from tests.processes import python

STARTED = settings.SETTINGS_MODULE in [f"tests.{engine}" for engine in ENGINES]
needs_nodes = pytest.mark.skipif(not settings.NODES, reason="SQLite has no nodes")
needs_servers = pytest.mark.skipif(
    not STARTED, reason="this needs servers of its own: --ds=tests.postgresql, or tests.mariadb"
)


def pytest_configure():
    # The default hasher takes a third of a second for each password.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session")
def servers():
    """The coordinator and the nodes. None on SQLite, and on the servers of ``shop/settings.py``."""
    if not STARTED:
        yield None
        return
    try:
        started = ENGINES[settings.SETTINGS_MODULE.removeprefix("tests.")]()
    except Unavailable as error:
        pytest.skip(str(error))
    with started, pytest.MonkeyPatch.context() as patch:
        for alias, database in settings.DATABASES.items():
            for key, value in started.host(alias).items():
                patch.setitem(database, key, value)
        patch.setenv("CLUSTER", str(started.folder))  # for other processes
        yield started


@pytest.fixture(scope="session")
def django_db_modify_db_settings(servers, tmp_path_factory):
    """The numbers of this project's own processes are not for its tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "KEY_WORKERS_DIR", tmp_path_factory.mktemp("workers"))
        yield


@pytest.fixture(scope="session", autouse=True)
def close_the_coordinator_first(django_db_setup, django_db_blocker):
    """PostgreSQL does not drop the database of a node while the coordinator is connected to it."""
    yield
    with django_db_blocker.unblock():
        connections["default"].close()


@pytest.fixture
def outage(servers):
    """The servers, for a test that ends some of them. They run again after the test."""
    yield servers
    connections.close_all()
    for name in servers.names:
        servers.revive(name)


def key_on(node):
    """Return a new key of a customer on a node."""
    number = settings.NODES.index(node)
    while True:
        key = new_key()
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(
                    "SELECT satisfies_hash_partition('customers_customer'::regclass, %s, %s, %s)",
                    [len(settings.NODES), number, key],
                )
            else:
                first_and_last = DISTRIBUTED["mysql"].keys(number)
                cursor.execute("SELECT %s BETWEEN %s AND %s", [key, *first_and_last])
            if cursor.fetchone()[0]:
                return key


def customer_on(node, name="Ada Lovelace", **fields):
    key = key_on(node)
    return Customer.objects.create(pk=key, name=name, email=f"{key}@clocks.example", **fields)


@pytest.fixture
def product():
    return Product.objects.create(name="Patient sundial", description="", price="9.50")


@pytest.fixture
def staff(client):
    client.force_login(User.objects.create(username="clerk", is_staff=True))
    return client


@pytest.fixture
def manage(servers, tmp_path, django_db_blocker):
    """Run ``manage.py`` in a copy of the project. The databases of the copy are empty."""
    folder = tmp_path / "distributed"
    ignore = shutil.ignore_patterns("*.sqlite3*", "__pycache__", ".*", "servers")
    shutil.copytree(settings.BASE_DIR, folder, ignore=ignore)

    def run(*arguments):
        return python.run("manage.py", *arguments, cwd=folder)

    run.folder = folder
    if servers is None:
        with django_db_blocker.unblock(), databases_of(folder):
            yield run
    else:
        servers.empty()
        yield run
