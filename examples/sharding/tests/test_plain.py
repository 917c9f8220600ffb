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
