"""Senders and workers are killed at random: no message is lost, doubled or out of order.

``STRESS=1`` kills 200 times, and prints how many messages there were.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = 200 if os.environ.get("STRESS") else 16


@pytest.mark.django_db(databases=[])
def test_killed_senders_and_workers(manage):
    populate = ["populate", "--products=3", "--reviews=0"]
    for arguments in (["migrate"], ["migrate", "--database=reviews"], populate):
        done = manage(*arguments, "--verbosity=0")
        assert done.returncode == 0, done.stderr
    load = Path(__file__).with_name("load.py")

    def start(role, seed, kills):
        return subprocess.Popen(
            [sys.executable, str(load), role, str(seed), str(kills)],
            cwd=manage.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    seed = int.from_bytes(os.urandom(2))
    print("seed", seed)
    roles = ["order", "order", "deliver", "deliver"]
    working = [start(role, seed + n, KILLS // len(roles)) for n, role in enumerate(roles)]
    for process in working:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    checking = start("check", seed, 0)
    output, errors = checking.communicate()
    assert checking.returncode == 0, errors
    messages = json.loads(output)
    print(f"{KILLS} kills, {messages} messages")
    assert messages > KILLS
