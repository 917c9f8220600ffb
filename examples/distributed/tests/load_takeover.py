"""The process of the test in which takeover is killed: as tests/load.py, with one more role."""

import os
import signal
import sys
import time

import load
from django.core.management import call_command

from sharding import writing

# A command that is killed leaves a bucket closed until the next one has repaired it, and on a busy
# machine several are killed before that.
writing.PATIENCE = 60
MOVING = ",".join(map(str, load.MOVING))  # only these have rows
STEPS = 800  # more than the statements and commits of a run, so that some runs finish


def start(back, steps=None):
    """Start takeover in a process, which may kill itself after some steps. Return its number."""
    child = os.fork()
    if not child:
        try:
            if steps is not None:
                load.die_after(steps)
            call_command("takeover", back=back, buckets=MOVING, stdout=sys.stderr)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return child


def finishes(child):
    """Return whether takeover finished. If not, it was killed: an error fails the test."""
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return status == 0


def take_over(random):
    """Move all rows to the coordinator and back; kill the process that does so; and again."""
    begin = time.monotonic()
    assert finishes(start(back=False))
    whole = time.monotonic() - begin  # the seconds of a run, on this machine
    killed = finished = 0
    while killed < int(os.environ["KILLS"]):
        back = random.random() < 0.5  # after a kill: on in the same direction, or turn round
        if random.random() < 0.5:
            child = start(back)
            time.sleep(random.uniform(0, 1.2 * whole))
            os.kill(child, signal.SIGKILL)
        else:
            child = start(back, random.randrange(STEPS))
        if finishes(child):
            finished += 1
        else:
            killed += 1
    assert finishes(start(back=False))
    return {"killed": killed, "finished": finished}


if __name__ == "__main__":
    load.main(load.ROLES | {"take_over": take_over})
