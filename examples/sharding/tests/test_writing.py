"""A write, and a bucket that is on the move; on files, where a transaction is what it is."""

from django.db import models

from conftest import bucket_on
from customers.models import Customer
from sharding.buckets import alias_of, forget_map
from sharding.fences.models import HeldBucket
from sharding.keys import new_key
from sharding.reshard import change_map


def test_a_write_waits_for_its_bucket_and_follows_it(shop, monkeypatch):
    bucket = bucket_on("shard1")
    customer = Customer(pk=new_key(bucket), name="Ada", email="")
    models.QuerySet(HeldBucket, using="shard1").filter(number=bucket).delete()

    def move(seconds):
        change_map([bucket], alias="shard2", placement=True)
        models.QuerySet(HeldBucket, using="shard2").create(number=bucket)

    monkeypatch.setattr("sharding.writing.time.sleep", move)
    forget_map()
    customer.save()
    assert customer._state.db == alias_of(bucket) == "shard2"
    assert Customer.objects.using("shard2").get() == customer
    assert not Customer.objects.using("shard1").exists()
