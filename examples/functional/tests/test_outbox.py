"""The shop with orders has settings of its own, so one process runs the tests of ``outbox/``."""

import os
import sys
from subprocess import run

from django.conf import settings


def test_the_outbox():
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--ds=tests.with_orders"]
    done = run(
        [sys.executable, *tests, "tests/outbox"],
        cwd=settings.BASE_DIR,
        env=os.environ | {"UNDER": settings.SETTINGS_MODULE},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout + done.stderr
