"""``python tests/cluster.py``, as a reader starts servers to try the shop on them."""

import os
import signal
import subprocess
import sys

import pytest
from django.conf import settings

from tests.cluster import ENGINES, Unavailable
from tests.processes import python
from tests.servers import Servers


@pytest.mark.parametrize("engine", ENGINES)
def test_the_servers_have_the_settings_that_it_names(engine, tmp_path):
    kind = ENGINES[engine]
    try:
        kind.find_programs(Servers.__new__(kind))
    except Unavailable as error:
        pytest.skip(str(error))
    cluster = subprocess.Popen(
        [sys.executable, settings.BASE_DIR / "tests/cluster.py", engine],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        said = [cluster.stdout.readline() for _ in range(3)]
        if not said[0]:
            pytest.skip(cluster.stderr.read())
        assert said[0].startswith("default, node0, node1, node2: sockets in servers/.")
        assert said[2] == f"export DJANGO_SETTINGS_MODULE=tests.{engine}\n"
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": f"tests.{engine}",
            "CLUSTER": str(tmp_path / "servers"),
        }
        process = python.run("manage.py", "nodes", cwd=settings.BASE_DIR, env=environment)
        assert process.stdout.count("lacks customers.0001_initial") == 3, process.stderr
        folder = (tmp_path / "servers").resolve()
    finally:
        cluster.send_signal(signal.SIGINT)
        cluster.communicate()
    assert not folder.exists() and not (tmp_path / "servers").is_symlink()


@pytest.mark.parametrize("arguments", [[], ["oracle"]])
def test_a_wrong_engine(arguments):
    process = python.run("tests/cluster.py", *arguments, cwd=settings.BASE_DIR)
    assert process.returncode == 1 and process.stderr.startswith("Usage: ")
