"""What a move tells others, each of use alone: an audit log, and a backup first."""

import json

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError

from customers.models import Customer
from sharding import buckets
from sharding.buckets import Bucket, in_buckets, read_map
from sharding.keys import new_key
from sharding.models import sharded_models
from sharding.reshard import change_map, reshard
from sharding.signals import placement_changing, rows_expiring


@pytest.fixture(autouse=True)
def short_lease(monkeypatch):
    monkeypatch.setattr(buckets, "LEASE", 0.02)


@pytest.fixture
def connect():
    connected = []

    def connect(signal, receiver):
        signal.connect(receiver)
        connected.append((signal, receiver))

    yield connect
    for signal, receiver in connected:
        signal.disconnect(receiver)


@pytest.fixture
def customer(shop):
    customer = Customer.objects.create(id=new_key(1), name="Ada")
    customer.orders.create(product_id=1, price=1)
    return customer


def test_an_audit_log(customer, connect):
    operator = User.objects.create(username="operator")

    def log(sender, numbers, fields, shards, **kwargs):
        LogEntry.objects.create(
            user=operator,
            content_type=ContentType.objects.get_for_model(Bucket),
            object_repr=f"buckets {numbers}",
            action_flag=2,
            change_message=json.dumps([fields, sorted(shards)]),
        )

    connect(placement_changing, log)
    reshard([1, 2], "shard1")
    entries = LogEntry.objects.order_by("pk").values_list("object_repr", "change_message")
    moved = {"alias": "shard1", "uncounted_on": "shard0"}
    assert [(what, json.loads(change)) for what, change in entries] == [
        ("buckets [1, 2]", [{"uncounted_on": "shard1"}, []]),
        ("buckets [1]", [moved, ["shard1"]]),
        ("buckets [2]", [moved, ["shard1"]]),
        ("buckets [1, 2]", [{"uncounted_on": None}, ["shard0"]]),
    ]


def test_the_log_and_the_change_are_one_transaction(customer, connect):
    def fail(sender, **kwargs):
        User.objects.create(username="operator")
        raise CommandError("the log is full")

    connect(placement_changing, fail)
    before = read_map()
    with pytest.raises(CommandError, match="the log is full"):
        change_map([1], placement=True, uncounted_on="shard1")
    assert read_map() == before and not User.objects.exists()


def test_a_backup_first(customer, connect):
    saved = []

    def back_up(sender, shard_map, **kwargs):
        for number, alias in shard_map.moving.items():
            for model in sharded_models():
                rows = model.objects.using(alias).filter(in_buckets([number]))
                saved.extend((alias, row.pk) for row in rows)

    connect(rows_expiring, back_up)
    order = customer.orders.get()
    reshard([1], "shard1")
    assert saved == [("shard0", customer.pk), ("shard0", order.pk)]


def test_without_a_backup_the_rows_stay_for_the_next_run(customer, connect):
    def full(sender, **kwargs):
        raise CommandError("No space left for a backup.")

    connect(rows_expiring, full)
    with pytest.raises(CommandError, match="No space left"):
        reshard([1], "shard1")
    assert Customer.objects.using("shard0").filter(pk=customer.pk).exists()
    customer.save()  # moved all the same, and open
    assert customer._state.db == "shard1" and read_map().moving == {1: "shard0"}
    rows_expiring.disconnect(full)
    assert reshard([1], "shard1") == (0, 0)
    assert not Customer.objects.using("shard0").filter(pk=customer.pk).exists()
