"""A replica that is missing, broken or too far behind is skipped, and later used again."""

import os
import shutil

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connections, transaction
from django.db.backends.signals import connection_created

from products.models import Product
from replicas import health, reading
from replication import snapshot
from replication.applier import Applier
from tests.engines import only_sqlite
from tests.shops import position_class

of_files = only_sqlite("this test changes or replaces the file of a replica")


@pytest.fixture(autouse=True)
def log(caplog, monkeypatch):
    monkeypatch.setattr(reading, "CHOICE", 0)
    return caplog


@pytest.fixture
def clock(monkeypatch):
    """Let the test set the clock that decides when a replica is tried again."""

    class Clock:
        ahead = 0

        def __call__(self):
            return real() + self.ahead

    real, clock = health.monotonic, Clock()
    monkeypatch.setattr(health, "monotonic", clock)
    return clock


def missing(shop, alias):
    shop.lose(alias)


def broken(shop, alias):
    shop.file(alias).write_bytes(b"The cuckoo has nested here." * 1000)


def without_a_position(shop, alias):
    shutil.copy(shop.file("default"), shop.file(alias))


def behind(shop, alias):
    shop.let_lag(alias, 61)


@pytest.mark.parametrize(
    "harm",
    [
        missing,
        pytest.param(broken, marks=of_files),
        pytest.param(without_a_position, marks=of_files),
        behind,
    ],
)
def test_an_unfit_replica_is_skipped_logged_once_and_tried_again(shop, clock, log, harm):
    harm(shop, "replica1")
    for _ in range(20):
        with reading.scope():
            assert Product.objects.db == "replica2"
    clock.ahead = 11
    for _ in range(20):
        with reading.scope():
            assert Product.objects.db == "replica2"
    (message,) = log.messages
    assert message.startswith("replica1 is not read from: ") and "\n" not in message

    shop.renew("replica1")
    for _ in range(20):
        with reading.scope():
            assert Product.objects.db == "replica2"  # not tried again yet
    clock.ahead = 22
    seen = set()
    for _ in range(30):
        with reading.scope():
            seen.add(Product.objects.db)
    assert seen == {"replica1", "replica2"}
    assert log.messages[1:] == ["replica1 is read from again."]


def test_when_none_is_fit_reads_go_to_the_primary(shop, log):
    missing(shop, "replica1")
    behind(shop, "replica2")
    with reading.scope():
        assert Product.objects.get()._state.db == "default"
    with reading.allow_stale():
        assert Product.objects.get()._state.db == "default"
    assert len(log.records) == 2


def test_the_lag_that_was_seen_is_kept_for_the_foot_of_the_page(shop):
    shop.let_lag("replica1", 20)
    missing(shop, "replica2")
    with reading.scope() as scope:
        assert Product.objects.count() == 1
    assert list(scope["default"].behind) == ["replica1"]
    assert 20 <= scope["default"].behind["replica1"] < 25


def test_a_replica_that_grows_unfit_within_a_scope_is_left(shop):
    with reading.scope():
        first = reading.database()
        behind(shop, first)
        (other,) = {"replica1", "replica2"} - {first}
        assert reading.database() == other
        assert reading.database() == other


def test_a_choice_stands_for_a_while_without_asking(shop, monkeypatch):
    monkeypatch.setattr(reading, "CHOICE", 60)
    with reading.scope():
        first = reading.database()
        behind(shop, first)
        assert reading.database() == first


@of_files
def test_a_file_that_was_replaced_is_opened_anew(shop, log):
    """The connection still has the old file open, which is not updated any more."""
    missing(shop, "replica2")
    with reading.scope():
        assert reading.database() == "replica1"
    shop.let_lag("replica1", 61)
    shop.file("replica1").rename(shop.folder / "old")
    with reading.scope():
        Product.objects.create(name="Egg timer", description="", price=3)
    shop.replicate("replica1")
    with reading.scope():
        assert reading.database() == "replica1"
        assert Product.objects.count() == 2
    assert not [message for message in log.messages if message.startswith("replica1")]


def test_a_replica_that_is_the_primary_by_another_name_is_fit(shop, clock, monkeypatch):
    """This happens in a test with MIRROR, and on a site whose entries all lead to one database."""
    for alias in ("replica1", "replica2"):
        connections[alias].close()
        its = connections["default"].settings_dict
        for key in ("NAME", "HOST", "PORT", "OPTIONS"):
            monkeypatch.setitem(connections.settings[alias], key, its[key])
    with reading.scope({"default": "1000000"}):
        alias = reading.database()
        assert alias in ("replica1", "replica2")
        assert Product.objects.count() == 1
    health.skip(alias, "for a test")
    assert health.seconds_behind(alias) is None
    clock.ahead = 11
    assert health.seconds_behind(alias) == 0
    assert health.seconds_behind(alias) == 0


def test_a_transaction_on_a_replica_is_not_broken_by_a_look_at_it(shop):
    with transaction.atomic(using="replica1"):
        assert Product.objects.using("replica1").count() == 1
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(position_class(), "seconds_behind", lambda *_: 61)
            assert health.seconds_behind("replica1") is None
        assert Product.objects.using("replica1").count() == 1


@pytest.mark.parametrize("fault", [None, OperationalError("the disk is on fire")])
@pytest.mark.parametrize("all_connections", [True, False])
def test_an_iterator_is_read_to_its_end(shop, monkeypatch, fault, all_connections):
    """During the iteration a check fails, on all connections to the replica or only on this one."""
    Product.objects.bulk_create(Product(name=str(n), description="", price=n) for n in range(500))
    shop.replicate()
    with reading.scope():
        alias = reading.database()
        rows = Product.objects.using(alias).order_by("pk").iterator(chunk_size=2)
        read = [next(rows).pk]
        old = connections[alias].connection

        def seconds_behind(self, connection):
            connection.ensure_connection()
            if not all_connections and connection.connection is not old:
                return 0
            if fault:
                raise fault
            return 61

        monkeypatch.setattr(position_class(), "seconds_behind", seconds_behind)
        assert (health.seconds_behind(alias) is None) == all_connections
        read += [row.pk for row in rows]
    assert read == [*Product.objects.order_by("pk").values_list("pk", flat=True)]
    # If only the old connection is the cause, it is not used again.
    assert (connections[alias].connection is old) == all_connections


def test_one_at_a_time_tries_a_replica_again(shop, clock):
    missing(shop, "replica1")
    assert health.seconds_behind("replica1") is None
    clock.ahead = 11
    assert health._is_due("replica1")
    assert not health._is_due("replica1")


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
@of_files
def test_a_replica_that_may_not_be_read(shop):
    shop.file("replica1").chmod(0)
    for _ in range(20):
        with reading.scope():
            assert reading.database() == "replica2"


@of_files
def test_one_that_is_made_anew_while_it_is_opened(shop):
    """SQLite would read rows from the old file, and the position from the new file's journal."""
    primary, replica = shop.file("default"), shop.file("replica1")
    snapshot.take(primary, replica)
    applier = Applier(primary, replica)

    def make_anew(connection, **_):
        if connection.alias == "replica1" and not applier.connection:
            replica.unlink()
            Product.objects.update(name="in the new file")
            snapshot.take(primary, replica)
            User.objects.update(first_name="Christiaan")
            applier.step()  # the journal gets the position, and no change of products

    connections["replica1"].close()
    connection_created.connect(make_anew)
    try:
        assert health.seconds_behind("replica1") is None
    finally:
        connection_created.disconnect(make_anew)
        applier.close()
    assert applier.position
    assert connections["replica1"].connection is None
    assert Product.objects.using("replica1").get().name == "in the new file"
