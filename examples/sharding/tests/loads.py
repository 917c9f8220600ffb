"""Runs the processes of tests/load.py together, and compares their answers with the databases."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

LOAD = Path(__file__).with_name("load.py")


def under_load(mover, folder, environment, script=LOAD):
    """Let processes write and read while ``mover``, a role, moves rows. Return what they did.

    ``folder`` has a copy of the project, whose databases are migrated. A process that finds a fault
    fails, with the fault in its message.
    """

    def start(role, seed):
        return subprocess.Popen(
            [sys.executable, str(script), role, str(seed)],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(process, answers=None):
        output, errors = process.communicate(json.dumps(answers))
        assert process.returncode == 0, errors
        return json.loads(output)

    result(start("prepare", 0))
    seed = int.from_bytes(os.urandom(2))
    print("seed", seed)
    working = [start("write", seed), start("write", seed + 1), start("read", seed)]
    moving = start(mover, seed)
    # A process that finds a fault ends. Then the others need not go on.
    while moving.poll() is None and all(process.poll() is None for process in working):
        time.sleep(0.05)
    (folder / "stop").touch()
    *written, seen = map(result, working)
    moved = result(moving)
    result(start("check", 0), [answers["expected"] for answers in written])
    return (
        f"{moved}, {sum(answers['writes'] for answers in written)} writes, the slowest "
        f"{max(answers['slowest'] for answers in written):.2f} s, {seen['reads']} reads"
    )
