"""Tests of a sharded project, by Django's runner and by pytest, as its own suite would have them.

Each ends as it should, and leaves the shard map as the next test needs it.
"""

from unittest.mock import patch

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connections

from customers.models import Customer
from sharding.buckets import Bucket, MapVersion, read_map
from sharding.fences.models import HeldBucket
from sharding.keys import new_key
from sharding.reshard import reshard
from tests import databases

ONE = """
        Customer.objects.create(name="Ada")
        self.assertEqual(gather.count(Customer.objects.all()), 1)
"""
CASES = f"""
from django.conf import settings
from django.test import TestCase, TransactionTestCase

from customers.models import Customer
from sharding import gather, scatter


class Committed(TransactionTestCase):
    databases = "__all__"

    def test_1(self):{ONE}
    def test_2(self):{ONE}

class GlobalOnly(TransactionTestCase):
    databases = {{"default"}}

    def test(self):
        pass


class OneShardOnly(TransactionTestCase):
    databases = {{"shard0"}}

    def test(self):
        pass


class CommittedAfterThese(Committed):
    pass


class RolledBack(TestCase):
    databases = "__all__"

    def test_1(self):{ONE}
    def test_2(self):{ONE}
"""
SERIALIZED = (
    CASES.split("class Global")[0].replace(
        'databases = "__all__"', 'databases = "__all__"\n    serialized_rollback = True'
    )
    + """
    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        for alias in settings.SHARDS:
            scatter.close(alias)  # Django doesn't flush after this class
"""
)
PYTEST = """
import pytest

from customers.models import Customer
from sharding import gather


@pytest.mark.django_db(databases="__all__", transaction=True)
@pytest.mark.parametrize("time", [1, 2])
def test_committed(time):
    Customer.objects.create(name="Ada")
    assert gather.count(Customer.objects.all()) == 1
"""


@pytest.mark.parametrize("cases", [CASES, SERIALIZED], ids=["plain", "serialized_rollback"])
def test_by_djangos_runner(manage, cases):
    (manage.folder / "customers" / "tests.py").write_text(cases)
    done = manage("test", "customers")
    assert done.returncode == 0, done.stderr
    assert "\nOK\n" in done.stderr


def test_by_pytest_on_databases_of_the_run_before(manage):
    """They have what its last test has left there."""
    (manage.folder / "tests" / "test_one.py").write_text(PYTEST)
    files = [alias for alias in databases.ALIASES if databases.is_file(alias)]
    with (manage.folder / "shop" / "settings.py").open("a") as file:
        file.write(f"for alias in {files}:\n")
        file.write('    DATABASES[alias]["TEST"] = {"NAME": f"test_{alias}.sqlite3"}\n')
    (manage.folder / "manage.py").write_text(
        "import sys, pytest\n"
        "sys.exit(pytest.main(['-q', '--reuse-db', '-p', 'no:cacheprovider', sys.argv[1]]))\n"
    )
    try:
        for _ in range(2):
            done = manage("tests/test_one.py")
            assert "2 passed" in done.stdout, done.stdout
    finally:
        for alias in databases.ALIASES:
            databases.drop(alias, manage.folder, prefix="test_")


def held(alias):
    return set(HeldBucket.objects.using(alias).values_list("number", flat=True))


def test_a_flush_leaves_the_map_as_the_shards_have_it(shop):
    reshard([0, 1], "shard2")
    before = read_map()
    call_command("flush", interactive=False)
    found = read_map()
    assert (found.aliases, found.moving) == (before.aliases, {})
    customer = Customer.objects.create(pk=new_key(0))
    assert customer.shard == "shard2"
    call_command("flush", database="shard2", interactive=False)
    assert held("shard2") == set(found.buckets("shard2"))
    assert not Customer.objects.using("shard2").exists()


@pytest.mark.parametrize("alias", ["default", "shard0"])
def test_no_flush_while_a_bucket_moves(shop, alias):
    Bucket.objects.filter(number__in=[0, 1]).update(uncounted_on="shard1")
    with pytest.raises(CommandError, match="Nothing was flushed, because buckets are moving: 0, 1"):
        call_command("flush", database=alias, interactive=False)
    assert Bucket.objects.filter(uncounted_on="shard1").count() == 2
    assert held("shard0") == set(range(256))


def test_the_flush_of_a_test_case_does_not_open_a_bucket_that_moves(shop):
    Bucket.objects.filter(number__in=[0, 1]).update(uncounted_on="shard1")
    call_command("flush", database="shard0", interactive=False, inhibit_post_migrate=False)
    assert held("shard0") == set(range(2, 256))


def test_a_flush_guesses_no_shard(shop):
    """A move was killed: who had the bucket, the map alone knew."""
    HeldBucket.objects.using("shard0").filter(number=7).delete()
    with pytest.raises(CommandError, match="Nothing was flushed, because no shard takes writes"):
        call_command("flush", interactive=False)
    assert MapVersion.objects.exists()
    with pytest.raises(CommandError, match="The shard map is empty, and no shard takes writes for"):
        call_command("flush", interactive=False, inhibit_post_migrate=False)
    assert not MapVersion.objects.exists()


def test_no_flush_of_default_without_a_shard(shop):
    with databases.lost("shard1", shop), pytest.raises(CommandError, match='Database "shard1"'):
        call_command("flush", interactive=False)
    assert Bucket.objects.count() == 1024


def test_users_are_made_in_default(shop, capsys):
    User.objects.create_superuser("eunice", password="before")
    call_command("createsuperuser", interactive=False, username="ada", email="ada@clocks.example")
    with patch("getpass.getpass", return_value="wind the clock"):
        call_command("changepassword", "eunice")
    assert User.objects.get(username="ada").is_superuser
    assert User.objects.get(username="eunice").check_password("wind the clock")
    assert "auth_user" not in connections["shard0"].introspection.table_names()


def test_a_shard_that_has_no_buckets_gets_none(shop):
    reshard(read_map().buckets("shard3"), "shard0")
    call_command("migrate_shards")
    assert held("shard3") == set()
    assert len(held("shard0")) == 512
    assert settings.SHARDS[-1] == "shard3"
