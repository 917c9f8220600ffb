"""The servers that tests start are stopped at the end of the test run, even if it is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest
from django.conf import settings

from tests.servers import ENGINES, Servers, Unavailable

TEST = """
from signal import pause

from tests.servers import ENGINES


class Noted(ENGINES["{engine}"]):
    def create(self):
        print("Servers in", self.folder, flush=True)
        super().create()
        print("Ready", flush=True)


def test_that_never_ends():
    with Noted():
        pause()
"""


@pytest.fixture(params=ENGINES)
def run(request, tmp_path):
    """Start a test run that starts servers and does not end. Return its process."""
    engine = ENGINES[request.param]
    try:
        engine.find_programs(Servers.__new__(engine))
    except Unavailable as error:
        pytest.skip(str(error))
    file = tmp_path / "test_that_never_ends.py"
    file.write_text(TEST.format(engine=request.param))
    command = [sys.executable, "-m", "pytest", "-s", "-c", "pytest.ini", "-p", "no:cacheprovider"]
    run = subprocess.Popen(
        [*command, file],
        cwd=settings.BASE_DIR,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell that runs these tests in the background lets them ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    yield run
    run.kill()
    run.communicate()


def processes_in(folder):
    """Return the commands of the running processes whose arguments contain the folder."""
    commands = subprocess.check_output(["ps", "-A", "-ww", "-o", "args"], text=True)
    return [command for command in commands.splitlines() if str(folder) in command]


def check_that_nothing_is_left(folder):
    end = monotonic() + 20
    while (processes_in(folder) or folder.exists()) and monotonic() < end:
        sleep(0.05)
    assert processes_in(folder) == []
    assert not folder.exists()


def folder_of(run):
    return next(Path(line.split()[-1]) for line in run.stdout if "Servers in " in line)


@pytest.mark.parametrize("ctrl_c", [True, False])
def test_no_server_outlives_the_test_run(run, ctrl_c):
    folder = folder_of(run)
    assert any("Ready" in line for line in run.stdout)
    assert len(processes_in(folder)) >= 2 and folder.exists()
    if ctrl_c:
        os.killpg(run.pid, signal.SIGINT)  # a terminal sends it to all processes of the group
    else:
        run.kill()
    run.wait(60)
    check_that_nothing_is_left(folder)


def test_nothing_is_left_of_servers_that_were_being_made(run):
    folder = folder_of(run)
    end = monotonic() + 20
    while not any(folder.glob("primary/*")) and monotonic() < end:
        sleep(0.05)
    sleep(0.3)  # now the program that creates the data directory runs
    run.terminate()
    run.wait(60)
    check_that_nothing_is_left(folder)
