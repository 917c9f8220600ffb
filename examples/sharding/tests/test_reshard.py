"""The command reshard: what it moves, what it refuses, and what is left when it is killed."""

import os
import re
import shutil
import threading
import time
from contextlib import contextmanager

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connections, transaction

import sharding.reshard
from conftest import databases_in
from customers.models import Customer, Order
from sharding import buckets
from sharding.buckets import in_buckets, read_map
from sharding.fences.models import HeldBucket
from sharding.keys import bucket_of, keys_of, new_key
from sharding.models import Resharding, sharded_models
from sharding.reshard import change_map, reshard, turn
from sharding.writing import BucketMoving
from tests import databases
from tests.loads import under_load

SHARDS = ["shard0", "shard1", "shard2", "shard3"]


@pytest.fixture(autouse=True)
def short_lease(monkeypatch):
    monkeypatch.setattr(buckets, "LEASE", 0.02)


@pytest.fixture
def customers(shop):
    """Three customers, with two orders each, in each of the buckets 0 to 4 and 300."""
    made = [
        Customer.objects.create(id=new_key(number), name=f"{number} {n}")
        for number in [0, 1, 2, 3, 4, 300]
        for n in range(3)
    ]
    for customer in made:
        for product_id in (1, 2):
            customer.orders.create(product_id=product_id, price="9.50")
    return made


def rows(alias, *numbers):
    """Return all that a shard has in some buckets: a list for each model."""
    return [
        list(model.objects.using(alias).filter(in_buckets(numbers)).order_by("pk").values())
        for model in sharded_models()
    ]


def check_that_all_is_at_rest():
    """Each bucket has rows on one shard, the map's, and that is the one that holds it."""
    found = read_map()
    assert not found.moving
    for alias in SHARDS:
        held = set(HeldBucket.objects.using(alias).values_list("number", flat=True))
        assert held == set(found.buckets(alias))
        for model in sharded_models():
            keys = model.objects.using(alias).values_list("pk", flat=True)
            assert {bucket_of(key) for key in keys} <= held


def test_a_move(customers, capsys):
    before, other = rows("shard0", 1, 2, 4), rows("shard0", 0, 3)
    call_command("reshard", to="shard3", buckets="1-2,4")
    assert capsys.readouterr().out.startswith("Buckets moved to shard3: 3, with 27 rows, in ")
    assert rows("shard3", 1, 2, 4) == before
    assert rows("shard0", 1, 2, 4) == [[], []]
    assert rows("shard0", 0, 3) == other
    check_that_all_is_at_rest()
    for customer in customers:
        assert Customer.objects.get(pk=customer.pk).orders.count() == 2


def test_buckets_of_several_shards_and_those_that_are_there_already(customers, capsys):
    call_command("reshard", to="shard1", buckets="0,300")
    assert "Buckets moved to shard1: 1, with 9 rows, in" in capsys.readouterr().out
    call_command("reshard", to="shard1", buckets="0-1,300")
    assert capsys.readouterr().out.endswith(" Already there: 2.\n")
    call_command("reshard", to="shard1", buckets="0")
    assert "Buckets moved to shard1: 0, with 0 rows" in capsys.readouterr().out
    check_that_all_is_at_rest()


def test_rows_arrive_as_they_are(shop, monkeypatch):
    """No signal is sent, no field makes a value of its own, nothing is rounded."""
    joined = Customer._meta.get_field("joined")
    name = "Zoë 'quote' \\"
    if databases.vendor("shard0") != "postgresql":  # has no such text
        name += "\x00"
    customer = Customer.objects.create(id=new_key(0), name=name, email="")
    customer.orders.create(product_id=2**62, price="0.10")
    before = rows("shard0", 0)
    monkeypatch.setattr(joined, "auto_now", True)
    reshard([0], "shard1")
    assert rows("shard1", 0) == before


def test_an_object_from_before_the_move_is_saved_where_its_row_is(customers):
    customer = customers[0]
    assert customer._state.db == "shard0"
    reshard([0], "shard2")
    customer.name = "moved"
    customer.save()
    customer.orders.create(product_id=3, price=1)
    assert Customer.objects.using("shard2").get(pk=customer.pk).name == "moved"
    assert Order.objects.using("shard2").filter(customer=customer).count() == 3
    check_that_all_is_at_rest()


@pytest.fixture
def fifth(shop, monkeypatch):
    """A fifth shard, in the settings, and as yet without tables."""
    monkeypatch.setattr(settings, "SHARDS", [*SHARDS, "shard4"])
    monkeypatch.setitem(connections.settings, "shard4", dict(connections.settings["shard3"]))
    connections["shard4"].settings_dict["NAME"] = databases.named("shard4", shop)
    databases.create("shard4", shop)
    yield "shard4"
    connections["shard4"].close()
    databases.drop("shard4", shop)
    del connections["shard4"]


def test_a_fifth_shard(customers, fifth, capsys):
    call_command("migrate_shards")
    assert not HeldBucket.objects.using(fifth).exists()
    call_command("reshard", to=fifth, buckets="0-50,256-306")
    assert Customer.objects.using(fifth).count() == len(customers)
    assert len(read_map().buckets(fifth)) == HeldBucket.objects.using(fifth).count() == 102
    assert Customer.objects.get(pk=customers[0].pk)._state.db == fifth
    new = Customer.objects.create(id=new_key(300))
    assert new._state.db == fifth


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "--buckets must be numbers and ranges, as in \"0-99,205\", not ''."),
        ("1,,2", "--buckets must be numbers and ranges, as in \"0-99,205\", not '1,,2'."),
        ("-3", "--buckets must be numbers and ranges, as in \"0-99,205\", not '-3'."),
        ("1-x", "--buckets must be numbers and ranges, as in \"0-99,205\", not '1-x'."),
        ("9-3", "--buckets: 9-3: write the lower number first."),
        ("0-1024", "--buckets: 0-1024: the buckets are 0 to 1023."),
    ],
)
def test_wrong_buckets(shop, text, message):
    with pytest.raises(CommandError) as error:
        call_command("reshard", to="shard1", buckets=text)
    assert str(error.value) == message


def test_an_unknown_shard(shop):
    with pytest.raises(CommandError) as error:
        call_command("reshard", to="default", buckets="1")
    assert str(error.value) == (
        'There is no shard "default". The shards are: shard0, shard1, shard2, shard3.'
    )


def test_a_shard_that_is_not_migrated(customers, fifth):
    with pytest.raises(CommandError) as error:
        call_command("reshard", to=fifth, buckets="1")
    assert str(error.value) == (
        'Database "shard4" lacks migrations: fences.0001_initial, customers.0001_initial. '
        "Run: python manage.py migrate_shards"
    )
    check_that_all_is_at_rest()


def test_shards_of_different_engines(customers, monkeypatch):
    with (
        monkeypatch.context() as patch,
        pytest.raises(CommandError, match="^shard0 and shard1 are of different engines. "),
    ):
        patch.setattr(connections["shard1"], "vendor", "another")
        call_command("reshard", to="shard1", buckets="1")
    check_that_all_is_at_rest()


@pytest.mark.parametrize("down", ["shard0", "shard1", "default"])
def test_a_database_that_is_down(customers, shop, down):
    connections.close_all()
    with databases.lost(down, shop) as (name, said), pytest.raises(CommandError) as error:
        call_command("reshard", to="shard1", buckets="1")
    assert re.fullmatch(rf'Database "{down}" \({name}\): {said}', str(error.value))
    connections.close_all()
    check_that_all_is_at_rest()


def test_another_is_running(customers, monkeypatch):
    monkeypatch.setattr(buckets, "LEASE", 0.2)
    with turn(), pytest.raises(CommandError) as error:
        call_command("reshard", to="shard1", buckets="1")
    assert str(error.value) == "Another reshard is running. Wait until it has finished."
    call_command("reshard", to="shard1", buckets="1")
    check_that_all_is_at_rest()


def test_one_that_slept_while_another_took_its_place_can_do_nothing(customers, monkeypatch):
    monkeypatch.setattr(sharding.reshard.Run, "beat", lambda run, stop: None)
    with turn() as old:
        reshard([1], "shard1")
        reshard([1], "shard0")  # old may be about to delete what it had copied, now the only rows
        before = rows("shard0", 1)
        for act in (
            lambda: old.mark([1], "shard1"),
            lambda: old.move([1], "shard0", "shard1"),
            lambda: old.open([1]),
        ):
            with pytest.raises(CommandError, match="A newer run of reshard has started"):
                act()
    assert rows("shard0", 1) == before
    check_that_all_is_at_rest()


def test_default_alone_is_from_a_backup(customers):
    """Its count of the runs is from before that of the shards."""
    for target in ("shard1", "shard0"):
        reshard([1], target)
    Resharding.objects.update(number=0)
    before = rows("shard0", 1)
    reshard([1], "shard1")
    assert rows("shard1", 1) == before
    assert Resharding.objects.get().number == 3
    check_that_all_is_at_rest()


def state():
    """Return what the map says, and what each shard holds and has."""
    buckets.forget_map()
    found = read_map()
    return found, {
        alias: (
            set(HeldBucket.objects.using(alias).values_list("number", flat=True)),
            rows(alias, 1, 2, 4, 300),
        )
        for alias in SHARDS
    }


def check_that_it_is_refused(numbers, target, message):
    before = state()
    with pytest.raises(CommandError) as error:
        reshard(numbers, target)
    assert str(error.value).startswith(message)
    assert state() == before


OLD_MAP = (
    "shard1 takes writes for buckets that the map gives to shard0: 1, 2. If default was restored "
    'from a backup, correct the map: change_map([…], placement=True, alias="shard1", '
    'uncounted_on="shard0"), from sharding.reshard. If shard1'
)


def test_default_is_from_before_a_move(customers, shop):
    """The next move of these buckets changes nothing, whatever its target; others can be moved."""
    with databases.restored("default", shop):
        reshard([1, 2], "shard1")
    for target in ("shard0", "shard1", "shard2"):
        check_that_it_is_refused([1, 2, 300], target, OLD_MAP)
    assert reshard([4], "shard2") == (1, 9)
    change_map([1, 2], placement=True, alias="shard1", uncounted_on="shard0")
    assert reshard([1, 2], "shard3") == (2, 18)
    check_that_all_is_at_rest()
    for customer in customers:
        assert Customer.objects.get(pk=customer.pk).orders.count() == 2


def test_default_is_from_the_middle_of_a_move(customers, shop):
    """Its marks are not to be mended as those of a run that was killed."""
    change_map([1, 2], placement=True, uncounted_on="shard1")
    with databases.restored("default", shop):
        reshard([1, 2], "shard1")
    check_that_it_is_refused([4], "shard2", OLD_MAP)
    change_map([1, 2], placement=True, alias="shard1", uncounted_on="shard0")
    assert reshard([4], "shard2") == (1, 9)
    check_that_all_is_at_rest()
    assert Customer.objects.get(pk=customers[3].pk)._state.db == "shard1"


def test_both_shards_hold_what_one_has(customers):
    HeldBucket.objects.using("shard1").create(number=1)
    check_that_it_is_refused([1], "shard1", "shard1 takes writes for buckets that the map gives to")
    HeldBucket.objects.using("shard1").filter(number=1).delete()
    assert reshard([1], "shard1") == (1, 9)
    check_that_all_is_at_rest()


def test_a_shard_is_from_before_a_move(customers, shop):
    with databases.restored("shard0", shop):
        reshard([1], "shard1")
        reshard([300], "shard0")
    other = "shard0 takes writes for buckets that the map gives to shard1: 1. If default was"
    check_that_it_is_refused([1], "shard0", other)
    lacks = (
        "shard0 takes no writes for buckets that the map gives to it: 300. If shard0 was restored"
    )
    for target in ("shard0", "shard1"):
        check_that_it_is_refused([300], target, lacks)


def test_who_has_a_bucket_is_found_though_another_shard_is_down(customers, shop):
    with databases.restored("default", shop):
        reshard([1, 2], "shard3")
    connections.close_all()
    with databases.lost("shard2", shop):
        with pytest.raises(
            CommandError, match="^shard3 takes writes for buckets that the map gives"
        ):
            reshard([1, 2], "shard1")
        connections.close_all()


def test_writers_do_not_wait_for_a_shard_that_is_down_since(customers, shop, monkeypatch):
    """A run was killed before it opened a bucket, and the shard that this came from is down."""
    with monkeypatch.context() as patch, pytest.raises(CommandError, match="a spanner"):
        failing(patch, "delete", CommandError("a spanner"))
        reshard([1], "shard1")
    HeldBucket.objects.using("shard1").filter(number=1).delete()
    connections.close_all()
    with databases.lost("shard0", shop):
        with pytest.raises(CommandError, match='^Database "shard0"'):
            reshard([4], "shard1")
        customers[3].save()
        assert customers[3]._state.db == "shard1"
        connections.close_all()
    reshard([1], "shard1")
    check_that_all_is_at_rest()


def failing(monkeypatch, name, error):
    """Have a function of reshard fail, each second time."""
    original, calls = getattr(sharding.reshard, name), []

    def fail(*args, **kwargs):
        calls.append(args)
        if len(calls) % 2 == 0:
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(sharding.reshard, name, fail)


@pytest.mark.parametrize("name", ["copy", "verify", "delete", "change_map", "rows_of"])
def test_an_error_leaves_all_buckets_open_and_the_next_run_goes_on(customers, monkeypatch, name):
    before = rows("shard0", 0, 1, 2)
    with monkeypatch.context() as patch:
        failing(patch, name, CommandError("a spanner"))
        with pytest.raises(CommandError, match="a spanner"):
            reshard([0, 1, 2], "shard1")
    for customer in customers:
        customer.save()  # nobody has to wait until somebody mends it
    reshard([0, 1, 2], "shard1")
    assert rows("shard1", 0, 1, 2) == before
    check_that_all_is_at_rest()


def test_ctrl_c(customers, monkeypatch):
    failing(monkeypatch, "copy", KeyboardInterrupt())
    with pytest.raises(CommandError, match="Stopped. Run reshard again to continue."):
        call_command("reshard", to="shard1", buckets="1")
    assert set(read_map().moving) == {1}
    customers[5].save()


def test_a_copy_that_differs_is_found(customers, monkeypatch):
    copy = sharding.reshard.copy

    def slip(model, bucket, source, target):
        count = copy(model, bucket, source, target)
        if model is Order:
            with connections[target].cursor() as cursor:
                cursor.execute("UPDATE customers_order SET quantity = 2 WHERE product_id = 2")
        return count

    monkeypatch.setattr(sharding.reshard, "copy", slip)
    with pytest.raises(CommandError, match=r"customers.Order: .* On shard0: .* On shard1: .*"):
        reshard([1], "shard1")
    assert read_map().aliases[1] == "shard0"


@pytest.mark.parametrize("where", ["shard0", "shard1"])
def test_a_row_that_one_shard_lacks_is_found(customers, monkeypatch, where):
    copy = sharding.reshard.copy

    def slip(model, bucket, source, target):
        count = copy(model, bucket, source, target)
        if model is Order:
            with connections[where].cursor() as cursor:
                cursor.execute(
                    "DELETE FROM customers_order WHERE id = (SELECT max(id) FROM customers_order "
                    "WHERE id BETWEEN %s AND %s)",
                    keys_of(1),
                )
        return count

    monkeypatch.setattr(sharding.reshard, "copy", slip)
    with pytest.raises(CommandError, match="customers.Order: a row differs from its copy. On .*: "):
        reshard([1], "shard1")


@contextmanager
def paused(monkeypatch, name):
    """Run a reshard of bucket 1 in a thread, which stops before its first call of a function."""
    reached, go_on = threading.Event(), threading.Event()
    original = getattr(sharding.reshard, name)

    def pause(*args, **kwargs):
        reached.set()
        go_on.wait()
        return original(*args, **kwargs)

    def run():
        try:
            reshard([1], "shard1")
        finally:
            connections.close_all()

    with monkeypatch.context() as patch:
        patch.setattr(sharding.reshard, name, pause)
        thread = threading.Thread(target=run)
        thread.start()
        try:
            assert reached.wait(10)
            yield go_on.set
        finally:
            go_on.set()
            thread.join()


def test_who_writes_while_their_bucket_is_copied_waits_and_then_writes_to_its_new_shard(
    customers, monkeypatch
):
    customer = customers[3]
    with paused(monkeypatch, "verify") as go_on:
        threading.Timer(0.2, go_on).start()
        start = time.monotonic()
        customer.save()
        assert time.monotonic() - start > 0.15
        assert customer._state.db == "shard1"
    check_that_all_is_at_rest()


def test_in_a_transaction_of_their_own_they_do_not_wait(customers, monkeypatch):
    with (
        paused(monkeypatch, "verify"),
        pytest.raises(BucketMoving),
        transaction.atomic(using="shard0"),
    ):
        customers[3].save()


def test_a_transaction_that_has_written_is_waited_for(customers, shop):
    """The fence comes after what was written before, and that is copied."""
    with transaction.atomic(using="shard0"):
        customers[3].name = "last moment"
        customers[3].save()
        moving = threading.Thread(target=lambda: (reshard([1], "shard1"), connections.close_all()))
        moving.start()
        until = time.monotonic() + 10
        while read_map().moving != {1: "shard1"} and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.2)  # it would be past the fence by now, a few leases later
        assert moving.is_alive() and read_map().aliases[1] == "shard0"
    moving.join()
    assert Customer.objects.using("shard1").get(pk=customers[3].pk).name == "last moment"
    check_that_all_is_at_rest()


LONG = "STRESS" in os.environ


def test_killed_under_load(migrated, tmp_path, django_db_blocker):
    """At 200 random points (``STRESS=1``; else at 6), by ``kill -9``, while others write and read.

    Each row is there once, what was acknowledged is kept, and at no time did a reader, or a writer
    who looks for what they wrote, see a row missing, or twice, or old.
    """
    databases.check_that_a_copy_has_its_own()
    folder = tmp_path / "sharding"
    ignore = shutil.ignore_patterns("*.sqlite3*", "__pycache__", ".*", "workers")
    shutil.copytree(settings.BASE_DIR, folder, ignore=ignore)
    environment = os.environ | {"KILLS": "200" if LONG else "6"}

    with django_db_blocker.unblock(), databases_in(folder, migrated):
        print(under_load("move", folder, environment))
