"""A shard's primary is lost, and a replica replaces it. The other shard is not affected."""

from contextlib import suppress

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connections

import sharding.reshard
from conftest import customer_on
from customers.models import Customer, Order
from replicas import reading
from shard_replicas import readable
from shard_replicas.checks import check_promote
from shard_replicas.promotion import buckets_with_rows
from shard_replicas.readable import NotReplicated
from sharding import buckets, gather
from sharding.buckets import read_map
from sharding.fences.models import HeldBucket
from sharding.keys import new_key
from sharding.reshard import reshard
from tests.engines import only_sqlite

pytestmark = only_sqlite(
    "the command promote is for SQLite; on other engines the server promotes a standby"
)

SECOND = "shard1_replica2"
CUSTOMERS, ORDERS = Customer.objects.all(), Order.objects.all()


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(buckets, "LEASE", 0.01)
    monkeypatch.setattr(readable, "PATIENCE", 0.02)


@pytest.fixture
def customers(shop):
    made = [Customer.objects.create(id=new_key(n), name=str(n)) for n in (0, 1, 2, 600)]
    for customer in made:
        customer.orders.create(product_id=1, price=1)
    shop.replicate()
    return made


def lose(shop, alias):
    connections[alias].close()
    for file in shop.folder.glob(f"{alias}.sqlite3*"):
        file.unlink()


def check_readers(customers):
    """Check that each row is there once, and can be read and written."""
    for _ in range(4):
        with reading.scope():
            assert gather.count(CUSTOMERS) == gather.count(ORDERS) == len(customers)
            for customer in customers:
                assert Customer.objects.get(pk=customer.pk).orders.count() == 1
    for customer in customers:
        customer.save()


def check(customers):
    """Check also that each row is on the shard in the map, and that no bucket is moving."""
    check_readers(customers)
    found = read_map()
    assert not found.moving
    for shard in settings.SHARDS:
        held = set(HeldBucket.objects.using(shard).values_list("number", flat=True))
        assert held == set(found.buckets(shard))
        assert buckets_with_rows(shard) <= held


def test_of_one_shard(customers, shop, capsys):
    lose(shop, "shard0")
    call_command("promote", "shard0_replica2")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("shard0.sqlite3 now has the data of shard0_replica2, at position ")
    assert [line.split(":")[0] for line in lines[2:]] == ["shard0_replica1", "shard0_replica2"]
    with reading.scope():
        aliases = gather.each(CUSTOMERS, lambda rows: rows.db)
        assert aliases["shard0"] in settings.REPLICAS["shard0"]
    check(customers)
    shop.replicate()
    check(customers)


def test_what_the_replica_lacked_is_lost_and_nothing_else(customers, shop):
    customer_on("shard0", "late")
    customer_on("shard1", "late, too")
    lose(shop, "shard0")
    call_command("promote", "shard0_replica1")
    assert sorted(c.name for c in gather.top(CUSTOMERS)) == ["0", "1", "2", "600", "late, too"]


def test_a_replica_that_had_not_heard_that_buckets_went(customers, shop):
    """Their rows are there again. Without a corrected map, they would count twice."""
    with pytest.raises(CommandError):
        reshard([0, 1], "shard1")
    shop.replicate("shard1_replica1")
    reshard([0, 1], "shard1")
    lose(shop, "shard0")
    call_command("promote", "shard0_replica2")
    check(customers)


def test_a_replica_that_had_heard_half_of_it(customers, shop):
    """The replica takes no writes for these buckets, but has their rows."""
    with pytest.raises(CommandError):
        reshard([0, 1], "shard1")
    shop.replicate("shard0_replica2", "shard1_replica1")
    reshard([0, 1], "shard1")
    lose(shop, "shard0")
    call_command("promote", "shard0_replica2")
    check(customers)


def test_a_replica_that_had_not_heard_that_buckets_came(customers, shop):
    """Their rows are still on the old shard, so the map names this shard again."""
    with pytest.raises(CommandError):
        reshard([0, 1], "shard1")
    lose(shop, "shard1")
    call_command("promote", "shard1_replica2")
    assert read_map().aliases[:2] == ("shard0", "shard0")
    check(customers)


def move(shop, numbers, target):
    """Run reshard again after the replicas are up to date, as an operator does."""
    for _ in range(3):
        with suppress(NotReplicated):
            reshard(numbers, target)
        shop.replicate()
    assert reshard(numbers, target) == (0, 0)


@pytest.mark.parametrize("replicated", [True, False])
@pytest.mark.parametrize("lost", ["shard0", "shard1"])
@pytest.mark.parametrize(
    ("step", "calls"),  # where it is killed, and after how many calls
    [
        *[(step, 0) for step in ("copy", "verify", "change_map", "positions_of", "delete")],
        *[("copy", 2), ("delete", 2)],  # between two buckets
    ],
)
def test_in_the_middle_of_a_move(customers, shop, monkeypatch, step, calls, lost, replicated):
    """A move is killed at each step, and the replica has this step or lacks it."""
    with monkeypatch.context() as patch:
        # positions_of: directly before it waits for the replicas.
        module = readable if step == "positions_of" else sharding.reshard
        original, before = getattr(module, step), [None] * calls

        def fail(*args, **kwargs):
            if not before:
                # A process that is killed opens no bucket again.
                patch.setattr(sharding.reshard.Run, "open", lambda *args: None)
                raise CommandError("killed")
            before.pop()
            return original(*args, **kwargs)

        if step == "delete":
            patch.setattr(readable.health, "reached", lambda *args: not shop.replicate(SECOND))
        patch.setattr(module, step, fail)
        with suppress(CommandError):  # some steps are called less often
            reshard([0, 1], "shard1")
    if replicated:
        shop.replicate()
    lose(shop, lost)
    try:
        call_command("promote", f"{lost}_replica1")
    except CommandError as error:
        assert "no other shard has them: 0" in str(error)
        assert (step, calls, lost, replicated) == ("delete", 2, "shard1", False)
        call_command("promote", SECOND)
    check_readers(customers)
    move(shop, [0, 1], "shard1")
    check(customers)


def test_a_replica_that_lacks_the_only_rows_of_a_bucket(customers, shop):
    with pytest.raises(CommandError):
        reshard([0, 1], "shard1")
    shop.replicate("shard1_replica1")
    reshard([0, 1], "shard1")
    lose(shop, "shard1")
    with pytest.raises(CommandError) as error:
        call_command("promote", "shard1_replica2")
    assert str(error.value) == (
        "The map says that shard1 has these buckets, but shard1_replica2 lacks them, and no other "
        "shard has them: 0, 1. Promote another replica, or accept the loss with --force."
    )
    assert not shop.file("shard1").exists()
    call_command("promote", "shard1_replica1")
    check(customers)


def test_forced(customers, shop):
    with pytest.raises(CommandError):
        reshard([0, 1], "shard1")
    shop.replicate("shard1_replica1")
    reshard([0, 1], "shard1")
    lose(shop, "shard1")
    call_command("promote", "shard1_replica2", force=True)
    check(customers[2:])


def fail_over(shop, shard):
    """Promote a standby as a server does, without the command ``promote``."""
    standby = f"{shard}_replica2"
    connections[shard].close()
    from replication import promotion

    promotion.promote(shop.file(shard), shop.file(standby), force=True)
    for replica in settings.REPLICAS[shard]:
        call_command("replicate", snapshot=True, only=replica)


def test_a_server_that_promoted_by_itself_had_not_heard_that_buckets_went(customers, shop, capsys):
    with pytest.raises(CommandError):
        reshard([0, 1], "shard1")
    shop.replicate("shard1_replica1")
    reshard([0, 1], "shard1")
    fail_over(shop, "shard0")
    assert gather.count(CUSTOMERS) > len(customers)
    call_command("mend_map", "shard0")
    assert capsys.readouterr().out.endswith("The shard map and shard0 agree.\n")
    check(customers)
    call_command("mend_map", "shard0")  # again, when the map is correct
    check(customers)


def test_a_server_that_promoted_by_itself_had_not_heard_that_buckets_came(customers, shop):
    with pytest.raises(CommandError):
        reshard([0, 1], "shard1")
    fail_over(shop, "shard1")
    call_command("mend_map", "shard1")
    assert read_map().aliases[:2] == ("shard0", "shard0")
    check(customers)


def test_a_server_that_promoted_by_itself_has_lost_the_only_rows(customers, shop):
    with pytest.raises(CommandError):
        reshard([0, 1], "shard1")
    shop.replicate("shard1_replica1")
    reshard([0, 1], "shard1")
    fail_over(shop, "shard1")
    with pytest.raises(CommandError) as error:
        call_command("mend_map", "shard1")
    assert str(error.value) == (
        "The map says that shard1 has these buckets, but shard1 lacks them, and no other shard has "
        "them: 0, 1. Restore their rows, or accept the loss with --force."
    )
    call_command("mend_map", "shard1", force=True)
    check(customers[2:])


@pytest.mark.parametrize("step", ["copy", "verify", "change_map", "delete"])
@pytest.mark.parametrize("shard", ["shard0", "shard1"])
def test_a_server_that_promoted_by_itself_in_the_middle_of_a_move(
    customers, shop, monkeypatch, step, shard
):
    with monkeypatch.context() as patch:
        patch.setattr(readable.health, "reached", lambda *args: not shop.replicate())
        if step == "change_map":  # the switch is the second change of the map
            changes = iter([sharding.reshard.change_map])
            change = lambda *args, **kwargs: next(changes)(*args, **kwargs)  # noqa: E731
        else:
            change = None
        patch.setattr(sharding.reshard, step, change)
        patch.setattr(sharding.reshard.Run, "open", lambda *args: None)
        with suppress(TypeError, StopIteration):
            reshard([0, 1], "shard1")
    shop.replicate()
    fail_over(shop, shard)
    call_command("mend_map", shard)
    check_readers(customers)
    move(shop, [0, 1], "shard1")
    check(customers)


def test_no_shard_to_mend(customers):
    with pytest.raises(CommandError, match='^There is no shard "shard0_replica1"'):
        call_command("mend_map", "shard0_replica1")


def test_the_primary_answers(customers, shop):
    with pytest.raises(CommandError, match="^The primary still answers. It is at position"):
        call_command("promote", "shard0_replica1")
    check(customers)


def test_another_command_that_comes_first(settings):
    """Django runs the command of the app that is first in INSTALLED_APPS."""
    assert check_promote() == []
    apps = [app for app in settings.INSTALLED_APPS if app != "shard_replicas"]
    settings.INSTALLED_APPS = [*apps, "shard_replicas"]
    (error,) = check_promote()
    assert error.id == "shard_replicas.E001"
    assert error.msg == (
        "The command promote is from the app replication, and does not correct the shard map."
    )
    assert error.hint == 'Write "shard_replicas" before "replication" in INSTALLED_APPS.'


@pytest.mark.parametrize(
    ("alias", "message"),
    [
        ("shard0", '"shard0" is the primary. The replicas are: shard0_replica1, shard0_replica2.'),
        ("default", 'There is no replica "default". The replicas are: shard0_replica1, '),
    ],
)
def test_no_replica(customers, alias, message):
    with pytest.raises(CommandError) as error:
        call_command("promote", alias)
    assert str(error.value).startswith(message)
