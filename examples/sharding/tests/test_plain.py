"""``SHARDS = []``: one process for each of three routings runs the tests of plain_behaviour.py."""

import os
import sys
from subprocess import run

import pytest
from django.conf import settings

SHARD_ROUTER = "sharding.routers.ShardRouter"


@pytest.mark.parametrize(
    "routers", [SHARD_ROUTER, "", f"tests.plain.CustomersRouter {SHARD_ROUTER}"]
)
def test_without_shards_all_is_as_with_django_alone(routers):
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--ds=tests.plain", "--create-db"]
    env = {"PLAIN_OF": settings.SETTINGS_MODULE, "PLAIN_ROUTERS": routers}
    done = run(
        [sys.executable, *tests, "tests/plain_behaviour.py"],
        cwd=settings.BASE_DIR,
        env=os.environ | env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout + done.stderr


COPY = """
from customers.models import Customer, Order
from sharding import gather
for model in (Customer, Order):
    model.objects.bulk_create(model.objects.using("default").order_by("pk"))
    print(gather.count(model.objects.all()) == model.objects.using("default").count())
customers = gather.top(Customer.objects.all())
print({customer._state.db == customer.shard for customer in customers}, len(customers))
"""


def test_the_rows_can_go_to_shards_later(manage):
    (manage.folder / "shop/one.py").write_text(
        f"from {settings.SETTINGS_MODULE} import *\nSHARDS = []\n"
    )
    assert manage("migrate", "--settings=shop.one", "--verbosity=0").returncode == 0
    populated = manage("populate", "--settings=shop.one", "--customers=200")
    assert ": default 200;" in populated.stdout, populated.stderr
    assert manage("migrate", "--verbosity=0").returncode == 0  # makes the map
    migrated = manage("migrate_shards")
    assert "4 shards are up to date." in migrated.stdout, migrated.stderr
    copied = manage("shell", "--verbosity=0", "--command", COPY)
    assert copied.stdout.splitlines() == ["True", "True", "{True} 200"], copied.stderr
    assert manage("check", "--database=default", "--database=shard0").returncode == 0
