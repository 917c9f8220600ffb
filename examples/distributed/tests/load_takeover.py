"""The process of the test in which takeover is killed: as tests/load.py, with one more role."""

import os
import signal
import sys
import time

import load
from django.core.management import call_command

from sharding import buckets, writing

# A command that is killed leaves a bucket closed until the next one has repaired it, and on a busy
# machine several are killed before that.
writing.PATIENCE = 60


def take_over(random):
    """Move all rows to the coordinator and back; kill the process that does so; and again."""
    killed = finished = 0
    moving = ",".join(map(str, load.MOVING))  # only these have rows
    while killed < int(os.environ["KILLS"]):
        by_clock, back = random.random() < 0.5, random.random() < 0.4
        child = os.fork()
        if not child:
            try:
                if not by_clock:
                    load.die_after(random.randrange(400))
                call_command("takeover", back=back, buckets=moving, stdout=sys.stderr)
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        if by_clock:
            time.sleep(random.uniform(0, 12 * buckets.LEASE))
            os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, -signal.SIGKILL), status
        killed += status != 0
        finished += status == 0
    call_command("takeover", buckets=moving, stdout=sys.stderr)
    return {"killed": killed, "finished": finished}


if __name__ == "__main__":
    load.main(load.ROLES | {"take_over": take_over})
