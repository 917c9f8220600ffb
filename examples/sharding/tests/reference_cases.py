"""The tests of an app with reference tables. ``test_reference`` runs them in a copy of the shop."""

from pathlib import Path
from unittest.mock import patch

from deliveries.models import Delivery
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import DEFAULT_DB_ALIAS, IntegrityError, connections, router, transaction
from django.db.models import F, ProtectedError
from django.test import TestCase, TransactionTestCase
from regions.models import Zone

from customers.models import Customer
from products.models import Product
from sharding import gather
from sharding.keys import new_key
from sharding.reference import models
from sharding.reference.models import version_of
from sharding.reshard import reshard
from sharding.writing import WrongShard


def copies():
    """Return the rows of default, after checking that each shard has the same."""
    found = [
        list(Zone.objects.using(alias).order_by("pk").values())
        for alias in [DEFAULT_DB_ALIAS, *settings.SHARDS]
    ]
    versions = {version_of(alias) for alias in [DEFAULT_DB_ALIAS, *settings.SHARDS]}
    assert all(rows == found[0] for rows in found), found
    assert len(versions) == 1, versions
    return found[0]


def names():
    return [row["name"] for row in copies()]


def deliver(zone, bucket=0):
    customer = Customer.objects.create(pk=new_key(bucket), name="Ada", email="a@clocks.example")
    return Delivery.objects.create(customer=customer, zone=zone)


def raw(alias, sql):
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)


class Committed(TransactionTestCase):
    databases = "__all__"

    def test_each_write_is_copied(self):
        one = Zone(name="one", price=1)
        one.save()
        self.assertEqual(names(), ["one"])
        Zone.objects.create(name="two", price=2)
        Zone.objects.bulk_create([Zone(name="three", price=3), Zone(name="four", price=4)])
        self.assertEqual(names(), ["one", "two", "three", "four"])
        Zone.objects.update(price=F("price") * 2)
        self.assertEqual([row["price"] for row in copies()], [2, 4, 6, 8])
        Zone.objects.get_or_create(name="five", defaults={"price": 5})
        Zone.objects.update_or_create(name="five", defaults={"price": 50})
        self.assertEqual(copies()[-1]["price"], 50)
        one.name = "uno"
        Zone.objects.bulk_update([one], ["name"])
        self.assertEqual(names()[0], "uno")
        one.delete()
        self.assertEqual(names(), ["two", "three", "four", "five"])
        Zone.objects.filter(price__gt=5).delete()
        self.assertEqual(names(), ["two"])

    def test_a_row_whose_unique_name_is_used_again(self):
        with transaction.atomic():
            first = Zone.objects.create(name="one", price=1)
        with transaction.atomic():
            first.delete()
            Zone.objects.create(name="one", price=2)
        self.assertEqual(names(), ["one"])

    def test_unique_values_that_move_to_other_rows(self):
        for name in ("one", "two", "three"):
            Zone.objects.create(name=name, price=1)
        with patch.object(models, "copy", wraps=models.copy) as copying, transaction.atomic():
            for old, new in (("three", "four"), ("two", "three"), ("one", "two")):
                Zone.objects.filter(name=old).update(name=new)
        self.assertEqual(copying.call_count, len(settings.SHARDS))  # once, after the transaction
        self.assertEqual(names(), ["two", "three", "four"])

    def test_what_is_rolled_back_is_not_copied(self):
        Zone.objects.create(name="one", price=1)
        before = version_of("shard0")
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            Zone.objects.update(name="none")
            Zone.objects.create(name=1 / 0)
        self.assertEqual(names(), ["one"])
        self.assertEqual(version_of("shard0"), before)

    def test_no_write_on_a_shard(self):
        one = Zone.objects.create(name="one", price=1)
        here = Zone.objects.using("shard1")
        copy = here.get()
        for write in (
            lambda: one.save(using="shard1"),
            lambda: here.create(name="two", price=2),
            lambda: here.update(price=2),
            lambda: here.bulk_create([Zone(name="two", price=2)]),
            lambda: here.bulk_update([copy], ["price"]),
            lambda: here.get_or_create(name="two", defaults={"price": 2}),
            lambda: here.delete(),
            lambda: copy.delete(using="shard1"),
        ):
            with self.assertRaisesRegex(WrongShard, "written in default only, not on shard1. Rem"):
                write()
        self.assertEqual(names(), ["one"])
        copy.price = 3
        copy.save()  # goes to default
        self.assertEqual(copies()[0]["price"], 3)
        copy.delete()
        self.assertEqual(names(), [])

    def test_joins_on_each_shard(self):
        zones = [Zone.objects.create(name=f"zone {n}", price=n) for n in range(4)]
        for number, zone in enumerate(reversed(zones)):
            deliver(zone, number * 256)
        top = gather.top(Delivery.objects.select_related("zone").order_by("-zone__price"))
        with self.assertNumQueries(0, using=DEFAULT_DB_ALIAS):
            self.assertEqual([row.zone.price for row in top], [3, 2, 1, 0])
        self.assertEqual([row.shard for row in top], settings.SHARDS)
        dear = Delivery.objects.filter(zone__price__gte=2)
        self.assertEqual(gather.count(dear), 2)
        self.assertEqual(gather.count(Delivery.objects.filter(zone__in=Zone.objects.all())), 4)
        self.assertEqual(top[0].zone._state.db, "shard0")
        for zone in (top[0].zone, zones[3]):
            new = Delivery()
            new.zone = zone
            new.customer = Customer(pk=new_key(600), name="Bea", email="b@clocks.example")
            new.customer.save()
            new.save()
            self.assertEqual(Delivery.objects.get(pk=new.pk).zone, zone)
            self.assertEqual(new.shard, "shard2")
        self.assertEqual(Delivery.objects.get(pk=top[0].pk).zone.name, "zone 3")
        found = Delivery.objects.filter(customer=top[0].customer_id).prefetch_related("zone")
        self.assertEqual(found[0].zone, zone)

    def test_the_database_refuses_a_zone_that_is_not_there(self):
        customer = Customer.objects.create(name="Ada", email="a@clocks.example")
        with self.assertRaises(IntegrityError):
            Delivery.objects.create(customer=customer, zone_id=99)

    def test_a_row_that_is_referred_to(self):
        one = Zone.objects.create(name="one", price=1)
        delivery = deliver(one, 300)
        for delete in (one.delete, Zone.objects.all().delete):
            with self.assertRaisesRegex(
                ProtectedError, "zone can't be deleted, because deliveries on shard1 refer to it"
            ):
                delete()
        self.assertEqual(names(), ["one"])
        delivery.delete()
        one.delete()
        self.assertEqual(names(), [])

    def test_raw_sql_is_found(self):
        one, two = (Zone.objects.create(name=name, price=1) for name in ("one", "two"))
        deliver(two, 300)
        raw("shard2", "UPDATE regions_zone SET price = 7")
        raw("default", f"UPDATE regions_zone SET name = 'uno' WHERE id = {one.pk}")
        call_command("sync_reference", stdout=self)
        self.assertEqual(
            self.said, "4 shards have the reference tables of default. Rows corrected: 5."
        )
        self.assertEqual(names(), ["uno", "two"])
        raw("default", "DELETE FROM regions_zone")
        with self.assertRaisesRegex(
            CommandError,
            "shard1: zones that are no longer in default are kept, because rows of shard1 refer to "
            f"them: {two.pk}.$",
        ):
            call_command("sync_reference", stdout=self)
        self.assertEqual([z.name for z in Zone.objects.using("shard1")], ["two"])
        self.assertFalse(Zone.objects.using("shard2").exists())

    def write(self, text):
        if text.strip():
            self.said = text.strip()

    def test_reshard_leaves_them(self):
        one = Zone.objects.create(name="one", price=1)
        delivery = deliver(one, 300)
        try:
            reshard([300], "shard3")
            self.assertEqual(Delivery.objects.get(pk=delivery.pk).shard, "shard3")
            self.assertEqual(names(), ["one"])
        finally:
            reshard([300], "shard1")

    def test_a_flush(self):
        one = Zone.objects.create(name="one", price=1)
        delivery = deliver(one, 300)
        call_command("flush", database="shard1", interactive=False)
        self.assertEqual(names(), ["one"])
        self.assertFalse(Delivery.objects.filter(pk=delivery.pk).exists())
        deliver(one, 300)
        call_command("flush", interactive=False)
        call_command("shard_status", stdout=self)
        self.assertIn("has older reference tables than default. Run sync_reference.", self.said)
        with self.assertRaisesRegex(CommandError, "^shard1: zones that are no longer in default"):
            call_command("sync_reference")
        self.assertFalse(Zone.objects.using("shard0").exists())
        self.assertEqual(gather.count(Delivery.objects.all()), 1)
        Zone.objects.create(pk=one.pk, name="one", price=1)
        self.assertEqual(names(), ["one"])

    def test_a_shard_that_fails_is_behind(self):
        Zone.objects.create(name="one", price=1)
        raw("shard2", "ALTER TABLE regions_zone RENAME TO aside")
        try:
            with self.assertLogs("sharding.reference", "ERROR") as logs:
                Zone.objects.update(price=5)
            with self.assertRaisesRegex(CommandError, '^Database "shard2"'):
                call_command("sync_reference")
        finally:
            raw("shard2", "ALTER TABLE aside RENAME TO regions_zone")
        self.assertRegex(logs.output[0], "shard2 is behind: .*regions_zone.* Run: python manage")
        call_command("shard_status", stdout=self)
        self.assertEqual(
            self.said, "shard2 has older reference tables than default. Run sync_reference."
        )
        self.assertEqual(Zone.objects.using("shard3").get().price, 5)
        call_command("sync_reference", stdout=self)
        self.assertIn("Rows corrected: 1.", self.said)
        self.assertEqual(copies()[0]["price"], 5)

    def test_a_dump(self):
        one = Zone.objects.create(name="one", price=1)
        deliver(one, 300)
        call_command("dumpdata", output="default.json", exclude=["customers", "deliveries"])
        call_command("dumpdata", "regions", output="zones.json")
        call_command("dumpdata", database="shard1", output="shard1.json")
        self.assertNotIn("regions.zone", Path("shard1.json").read_text())
        with self.assertRaisesRegex(CommandError, "regions.Zone is written in default only"):
            call_command("loaddata", "zones.json", database="shard1", verbosity=0)
        Zone.objects.update(name="other")
        call_command("loaddata", "zones.json", verbosity=0)
        self.assertEqual(names(), ["one"])
        call_command("flush", database="shard1", interactive=False)
        call_command("loaddata", "shard1.json", database="shard1", verbosity=0)
        self.assertEqual(gather.count(Delivery.objects.filter(zone__name="one")), 1)


class RolledBack(TestCase):
    databases = "__all__"

    def test_the_copies_are_made_when_the_test_says_so(self):
        with self.captureOnCommitCallbacks(execute=True):
            Zone.objects.create(name="one", price=1)
        self.assertEqual(names(), ["one"])

    def test_relations(self):
        zone = Zone(name="one", price=1)
        self.assertTrue(router.allow_relation(Delivery(), zone))
        self.assertFalse(router.allow_relation(Delivery(), Product(name="sundial")))


class DefaultOnly(TransactionTestCase):
    databases = {"default"}

    def test_a_write(self):
        pass


class OneShardOnly(TransactionTestCase):
    databases = {"shard0"}

    def test_nothing(self):
        pass


class LastCommitted(TransactionTestCase):
    databases = "__all__"

    def test_nothing_is_left(self):
        self.assertEqual(names(), [])
