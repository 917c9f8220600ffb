"""Temporary servers: each error has one line, and no server is left running."""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from livedocs import servers
from livedocs.servers import PostgreSQL, Server, ServerError

ROOT = Path(__file__).parents[1]
SERVERS = [sys.executable, "-m", "livedocs.servers"]


def here(engine):
    try:
        return bool(servers.find(engine))
    except ServerError:
        return False


NEEDS = {
    engine: pytest.mark.skipif(not here(engine), reason=f"there is no {kind.name}, or no driver")
    for engine, kind in servers.SERVERS.items()
}
EACH = [pytest.param(engine, marks=mark) for engine, mark in NEEDS.items()]


@pytest.fixture
def temporary():
    """A folder for servers. Its path is short, for the sockets, and any user may enter it."""
    folder = Path(tempfile.mkdtemp(prefix="servers-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_server_that_is_missing(temporary, monkeypatch):
    command = [*SERVERS, "--find", "mariadb"]
    found = subprocess.run(
        command, cwd=ROOT, env={"PATH": str(temporary)}, capture_output=True, text=True
    )
    assert found.stderr == (
        "MariaDB is not installed. Install a server (on Debian and Ubuntu: "
        "apt install mariadb-server)\n"
    )
    monkeypatch.setattr(PostgreSQL, "programs", lambda: None)
    with pytest.raises(
        ServerError, match=r"^PostgreSQL is not installed.* apt install postgresql\)$"
    ):
        servers.find("postgresql")


@NEEDS["postgresql"]
def test_a_driver_that_is_missing(monkeypatch):
    monkeypatch.setattr(PostgreSQL, "driver", "no_such_driver")
    with pytest.raises(ServerError, match=r"^psycopg is not installed. Run make site, which"):
        servers.find("postgresql")


def test_pytest_says_so_before_it_runs_anything(house):
    house.page(":project: tea\n\n>>> 1\n1\n")
    command = [sys.executable, "-m", "pytest", "--engine=mariadb", "docs"]
    ran = subprocess.run(
        command,
        cwd=house.folder,
        env={"PATH": str(house.folder)},
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout) == (4, "")
    assert ran.stderr.strip() == f"ERROR: {servers.MariaDB.missing}"


@pytest.mark.parametrize("engine", EACH)
def test_a_command_finds_its_server_and_its_exit_status_is_kept(engine, temporary, monkeypatch):
    """The caller's own servers and passwords have no effect."""
    asks = {
        "postgresql": "import psycopg; psycopg.connect(dbname='postgres').execute('SELECT 1')",
        "mariadb": "import MySQLdb; MySQLdb.connect().cursor().execute('SELECT 1')",
    }
    code = f"{asks[engine]}; print('answered'); raise SystemExit(7)"
    for name in ("PGHOST", "PGPASSWORD", "PGPORT", "PGSERVICE", "MYSQL_HOST", "MYSQL_PWD"):
        monkeypatch.setenv(name, "wrong")
    ran = run(temporary, engine, "--", sys.executable, "-c", code)
    assert (ran.stdout, ran.stderr, ran.returncode) == ("answered\n", "", 7)
    assert_gone(temporary)


def run(temporary, *arguments, prefix=()):
    return subprocess.run(
        [*prefix, *SERVERS, *arguments],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def assert_gone(temporary):
    """When its keeper ends, no process of a server in that folder is left, and no files."""
    until = time.monotonic() + 20
    while (left := [*running(temporary), *temporary.glob("livedb-*")]) and time.monotonic() < until:
        time.sleep(0.1)
    assert left == []


def running(temporary):
    """The commands of all processes that name the folder."""
    listed = subprocess.run(
        ["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True
    )
    return [line for line in listed.stdout.splitlines() if f"{temporary}/livedb" in line]


@pytest.mark.parametrize("engine", EACH)
def test_no_room_on_disk(engine, temporary):
    """Almost none: no file may be longer than 500 KB."""
    limit = ["sh", "-c", 'ulimit -f 1000; exec "$@"', "sh"]
    ran = run(temporary, engine, "--", "true", prefix=limit)
    assert ran.returncode == 1 and ran.stdout == ""
    name = servers.SERVERS[engine].name
    assert ran.stderr.startswith(f"{name} did not start: ") and ran.stderr.count("\n") == 1
    assert re.search("File too large|File size limit exceeded", ran.stderr)
    assert_gone(temporary)


@NEEDS["postgresql"]
@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as another user")
def test_a_folder_that_the_server_s_user_cannot_enter(temporary):
    temporary.chmod(stat.S_IRWXU)
    ran = run(temporary, "postgresql", "--", "true")
    assert ran.stderr.count("\n") == 1 and "Permission denied" in ran.stderr
    # Programs in such a folder (a checkout in /root, say) are copied.
    shutil.copytree(servers.find("postgresql").parent, temporary / "pginstall")
    with tempfile.TemporaryDirectory() as folder:
        kind, user = servers.owned(
            PostgreSQL(temporary / "pginstall/bin", Path(folder)), Path(folder)
        )
        said = subprocess.run([kind.run[0], "--version"], **user, cwd="/", capture_output=True)
        assert said.stdout.startswith(b"postgres (PostgreSQL)")


@NEEDS["postgresql"]
def test_a_port_that_is_taken_does_not_matter(temporary, monkeypatch):
    """A server listens on a socket in its own folder."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(temporary))
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # Then a server uses this port.
            taken.bind(("127.0.0.1", 5432))
        pair = [Server("postgresql"), Server("postgresql")]
        for server in pair:
            create = [*server.kind.client, "-c", "CREATE DATABASE one"]
            subprocess.run(create, check=True)
            assert server.drop_all()
            subprocess.run(create, check=True)
        for server in pair:
            server.stop()
    assert_gone(temporary)


@pytest.mark.parametrize("engine", EACH)
def test_a_page_with_a_standby(house, temporary, monkeypatch, engine):
    """Only the address in its settings is changed, and the standby replicates the primary."""
    monkeypatch.setenv("TMPDIR", str(temporary))
    house.page(f"""
        :project: new
        :standby: late

        .. code-block:: console

           $ django-admin startproject shop .

        .. code-block:: python
           :caption: shop/settings.py, at the end

           SERVER = {{
               "ENGINE": "{servers.SERVERS[engine].django}",
               "NAME": "shop",
               "USER": "nobody",
               "PASSWORD": "pendulum",
               "HOST": "db.example.net",
               "PORT": "1",
               "OPTIONS": {{"connect_timeout": 3}},
           }}
           DATABASES = {{"default": SERVER, "late": SERVER | {{"HOST": "late.example.net"}}}}

        .. code-block:: console

           $ python manage.py migrate --verbosity 0

        .. code-block:: python

           import time

           from django.conf import settings
           from django.contrib.auth.models import Group
           from django.db import connections, Error

           def names(alias):
               return [group.name for group in Group.objects.using(alias)]

           Group.objects.create(name="readers")
           end = time.monotonic() + 30
           while time.monotonic() < end:
               try:
                   if names("late"):
                       break
               except Error:
                   time.sleep(0.1)

        >>> names("default"), names("late")
        (['readers'], ['readers'])
        >>> [entry["OPTIONS"] for entry in settings.DATABASES.values()]
        [{{'connect_timeout': 3}}, {{'connect_timeout': 3}}]
        >>> Group.objects.using("late").create(name="writers")
        Traceback (most recent call last):
            ...
        django.db.utils...read...only...
        """)
    house.write("docs/other.rst", ":project: tea\n\n>>> 1\n1\n")
    counts, printed = house.run("docs", f"--engine={engine}")
    assert counts == {"passed": 10}, printed
    assert_gone(temporary)


LASTING = """
:project: tea

.. code-block:: console

   $ python manage.py migrate --verbosity 0
   $ touch {here}

.. code-block:: python

   import time
   time.sleep({seconds})

>>> 1
{result}
"""


ENDS = [("postgresql", end) for end in ("passes", "fails", signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize(
    ("engine", "end"),
    [
        *(pytest.param(engine, end, marks=NEEDS[engine]) for engine, end in ENDS),
        *(pytest.param(engine, signal.SIGKILL, marks=mark) for engine, mark in NEEDS.items()),
    ],
    ids=str,
)
def test_none_is_left_running(house, temporary, engine, end):
    here = temporary / "here"  # This file exists while a page is running.
    signalled = isinstance(end, signal.Signals)
    house.page(LASTING.format(here=here, seconds=60 * signalled, result=2 if end == "fails" else 1))
    process = subprocess.Popen(
        # Two workers, so that the killed process is not the process that started the server.
        [sys.executable, "-m", "pytest", "-q", f"--engine={engine}", "-n", "2", "docs"],
        cwd=house.folder,
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        text=True,
        # In the background, a shell ignores this signal, and its child processes inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    if signalled:
        until = time.monotonic() + 60
        while not here.exists() and time.monotonic() < until:
            time.sleep(0.1)
        assert running(temporary)
        process.send_signal(end)
    printed, _ = process.communicate(timeout=120)
    if not signalled:
        assert process.returncode == (end == "fails"), printed
    assert_gone(temporary)


@NEEDS["postgresql"]
def test_a_server_that_is_killed_in_mid_page(house):
    house.page("""
        :project: tea

        .. code-block:: console

           $ python manage.py migrate --verbosity 0
           $ kill -9 $(head -1 $PGHOST/data/postmaster.pid); sleep 1

        >>> from django.contrib.auth.models import User
        >>> User.objects.count()
        0
        >>> 1
        2
        """)
    house.write("docs/other.rst", ":project: tea\n\n>>> 1\n1\n")
    counts, printed = house.run("docs", "--engine=postgresql")
    assert counts == {"failed": 1, "skipped": 2, "passed": 4}, printed
    assert "the PostgreSQL server ended: killed by signal 9" in printed


IN_DOUBT = {
    "postgresql": "psql -d default -c BEGIN -c \"INSERT INTO auth_group (name) VALUES ('left')\" "
    "-c \"PREPARE TRANSACTION 'left'\"",
    "mariadb": "mariadb default -e \"XA START 'left'; INSERT INTO auth_group (name) VALUES "
    "('left'); XA END 'left'; XA PREPARE 'left'\"",
}


@pytest.mark.parametrize("engine", EACH)
def test_a_page_that_leaves_a_transaction_in_doubt(house, engine):
    """No database with such a transaction can be dropped. The next page gets another server."""
    text = """
        :project: tea

        .. code-block:: console

           $ python manage.py migrate --verbosity 0

        >>> from django.contrib.auth.models import Group
        >>> group = Group.objects.create(name="{name}")

        .. code-block:: console

           $ {command} > /dev/null
        """
    house.page(text.format(name="first", command=IN_DOUBT[engine]))
    house.page(text.format(name="first", command="true"), "docs/second.rst")
    counts, printed = house.run("docs", f"--engine={engine}")
    assert counts == {"passed": 10}, printed
