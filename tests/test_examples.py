"""Each example alone, as a reader uses it."""

import ast
import doctest
import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from textwrap import dedent

import pytest
from sybil.evaluators.doctest import OutputChecker

from livedocs.pages import COMMAND, PARSERS, Page
from livedocs.servers import Server, ServerError
from livedocs.slips import report_slip

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/*/manage.py"))
#: 6.1 needs Python 3.12.
DJANGOS = ["5.2", "6.1"] if sys.version_info >= (3, 12) else ["5.2"]

BLOCK = re.compile(
    r"^(?P<skip>\.\. skip: next .*\n\n)?"
    r"\.\. code-block:: (console|(?P<python>python)(\n +:caption: (?P<file>.+))?)\n\n"
    r"(?P<text>(?: .*\n|\n)+)",
    re.MULTILINE,
)
#: All blocks that a page can run. In a README, each must match the pattern above.
ANY_BLOCK = re.compile(r"^ *(\.\. (code-block|literalinclude|include)::|>>> )", re.MULTILINE)
#: The first commands of a README, which make an environment.
INSTALL = [
    "python -m venv .venv",
    ". .venv/bin/activate",
    "python -m pip install -r requirements.txt",
]
#: Commands that need a reader, run until they are stopped, or may be missing: their replacements.
INSTEAD = {
    r"python manage.py createsuperuser": r"\g<0> --noinput",
    r"python manage.py runserver": (
        r"\g<0> {port} --noreload & for second in $(seq 30); do sleep 1; python -c '"
        r'from urllib.request import urlopen; urlopen("http://127.0.0.1:{port}/")'
        r"' 2>/dev/null && break; done; answered=$?; kill $!; wait $!; (exit $answered)"
    ),
    # It runs until it is stopped. Then the exit status of `timeout` is 124.
    r"python manage.py \w+ --follow.*": r"timeout 3 \g<0>; test $? = 124",
    r"sqlite3 .*": r"! command -v sqlite3 || \g<0>",
}
#: The last section of a README. It is followed if there is a server.
ON_A_SERVER = re.compile(r"^\w.* on PostgreSQL or MariaDB\n-+\n", re.MULTILINE)
#: Its first command, by engine, which installs the driver.
DRIVERS = {
    "postgresql": 'python -m pip install "psycopg[binary]"',
    "mariadb": "python -m pip install mysqlclient",
}
#: Blocks that a superuser runs, only on that engine.
CLIENTS = {"postgresql": ("psql ", "pg_dump "), "mariadb": ("mariadb ", "mariadb-dump ")}
#: Other runs have the whole suite on each engine. This file shows that the user may make databases.
INSTEAD_ON_A_SERVER = {
    r"python -m pytest": r"\g<0> $(ls tests/test_populate.py || echo tests/test_routers.py)",
    r"sqlite3 .*": "true",
}
#: Blocks that are run on a server even if the section for servers has all other commands.
ON_EACH_ENGINE = [
    "python manage.py createsuperuser",
    "python manage.py runserver",
    "python -m pytest",
]
MARK = "== ended with"


def pytest_generate_tests(metafunc):
    """READMEs are followed on SQLite and PostgreSQL, or on the engine of ``--engine``."""
    if "engine" in metafunc.fixturenames:
        asked = metafunc.config.option.engine
        # On a server, only with the newest Django: that saves an environment and a minute for each.
        pairs = [("sqlite", django) for django in DJANGOS] if asked == "sqlite" else []
        pairs += [
            (engine, DJANGOS[-1])
            for engine in DRIVERS
            if asked in (engine, "sqlite") and (asked, engine) != ("sqlite", "mariadb")
        ]
        metafunc.parametrize(("engine", "django"), pairs)


@pytest.fixture(params=EXAMPLES, ids=lambda folder: folder.name)
def example(request, tmp_path):
    """A copy of an example's folder, alone."""
    ignored = shutil.ignore_patterns("*.sqlite3*", "__pycache__", ".*")
    return shutil.copytree(request.param, tmp_path / request.param.name, ignore=ignored)


@pytest.fixture
def environment(example, engine, django):
    """The variables of a shell with only the Python packages that an example's README installs.

    They are installed once, by the commands of the README, for all examples with the same
    requirements. The next run of the tests uses them again.
    """
    requirements = re.sub("^#.*\n", "", (example / "requirements.txt").read_text(), flags=re.M)
    install = "\n".join(["set -e", *INSTALL]) + f" 'Django~={django}.0'"
    if engine in DRIVERS:
        install += "\n" + DRIVERS[engine]
    what = [str(ROOT), sys.version, requirements, install]
    folder = ROOT / "_build" / "environments" / sha256("\n".join(what).encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    variables = {
        "PATH": f"{folder / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "HOME": os.environ["HOME"],
        "PYTHONUNBUFFERED": "1",  # as on a terminal, output appears in order
    }
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            # The Python for new virtual environments, without the packages of this environment.
            (folder / "bin").mkdir(exist_ok=True)
            (folder / "bin" / "python").unlink(missing_ok=True)
            (folder / "bin" / "python").symlink_to(Path(sys._base_executable).resolve())
            (folder / "requirements.txt").write_text(requirements)
            made = subprocess.run(
                ["bash", "-c", install], cwd=folder, env=variables, capture_output=True, text=True
            )
            assert made.returncode == 0, made.stderr
            (folder / "installed").touch()
    (example / ".venv").symlink_to(folder / ".venv")
    return variables


@dataclass
class Found:
    """The server for a README's section, or several servers that replicate."""

    addresses: dict[str, dict[str, str]]  # for each HOST in the README, its replacement
    superuser: dict[str, str]  # the variables of the shell that makes the databases
    programs: Path


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A function that starts an engine's server, or removes all data from the running server."""
    running = {}

    def server(engine):
        if engine not in running:
            running[engine] = Server(engine)
            if engine == "postgresql":
                # By default, it needs no password on this machine.
                rules = running[engine].kind.data / "pg_hba.conf"
                rules.write_text(
                    f"local all clocks,clocks_reader scram-sha-256\n{rules.read_text()}"
                )
        assert running[engine].drop_all()
        kind, folder = running[engine].kind, tmp_path_factory.mktemp("options")
        forget = {
            "postgresql": "SELECT pg_reload_conf(); DROP ROLE IF EXISTS clocks, clocks_reader",
            "mariadb": "DROP USER IF EXISTS clocks@localhost, clocks_reader@localhost",
        }
        subprocess.run(
            kind.client, input=forget[engine], text=True, check=True, capture_output=True
        )
        (folder / "my.cnf").write_text(kind.options)
        superuser = {
            "postgresql": {"PGHOST": kind.address["HOST"], "PGUSER": "postgres"},
            "mariadb": {"MYSQL_HOME": str(folder)},
        }
        return Found({"127.0.0.1": {"HOST": kind.address["HOST"]}}, superuser[engine], kind.bin)

    yield server
    for server in running.values():
        server.stop()


@contextmanager
def replicating(engine, folder):
    """A primary and two replicas, as in the example's own tests."""
    spec = spec_from_file_location("servers", ROOT / "examples/replication/tests/servers.py")
    spec.loader.exec_module(module := module_from_spec(spec))
    try:
        servers = module.PostgreSQL() if engine == "postgresql" else module.MariaDB(replicas=2)
    except module.Unavailable as error:
        pytest.skip(str(error))
    with servers:
        if engine == "postgresql":
            addresses = [
                {"HOST": str(servers.folder), "PORT": str(port)} for port in servers.ports.values()
            ]
            superuser = {"PGHOST": str(servers.folder), "PGPORT": "5501", "PGUSER": "postgres"}
            programs = servers.bin
        else:
            addresses = [{"HOST": str(servers.folder / f"{name}.sock")} for name in servers.names]
            (folder / "my.cnf").write_text(f"[client]\nsocket={addresses[0]['HOST']}\n")
            superuser, programs = {"MYSQL_HOME": str(folder)}, Path(servers.mariadbd).parent
        names = ["127.0.0.1", "standby1", "standby2"]
        yield Found(dict(zip(names, addresses, strict=True)), superuser, programs)


@pytest.fixture
def server(example, engine, alone, tmp_path):
    """The server on which the README is followed, or None for SQLite."""
    if engine == "sqlite":
        yield None
    elif (example / "replicas").exists():
        with replicating(engine, tmp_path) as found:
            yield found
    else:
        try:
            found = alone(engine)
        except ServerError as error:
            pytest.skip(str(error))
        if engine == "mariadb" and (example / "distributed").exists():
            install = "INSTALL PLUGIN IF NOT EXISTS spider SONAME 'ha_spider'"
            command = ["mariadb", "-e", install]
            environment = os.environ | found.superuser
            if subprocess.run(command, env=environment, stderr=subprocess.DEVNULL).returncode:
                pytest.skip("the plugin Spider is missing: apt install mariadb-plugin-spider")
        yield found


def steps_of(text):
    """Yield the commands of a README, and the output of each, or None if it is not shown."""
    for block in BLOCK.finditer(text):
        content = dedent(block["text"]).strip("\n") + "\n"
        if block["file"]:
            yield f"cat > {block['file']} <<'END OF FILE'\n{content}END OF FILE", ""
        elif not block["python"]:
            for command, want in COMMAND.findall(content):
                yield command, None if block["skip"] else want.rstrip("\n")


def steps_on_a_server(section, engine, server, example):
    """Yield the same for a README's section for servers, with the change of its settings.

    The first blocks make the databases, on PostgreSQL and on MariaDB. Next are the settings for
    both. The last blocks have commands, if the other sections can't be followed on a server.
    """
    blocks = list(BLOCK.finditer(section))
    texts = [dedent(block["text"]).strip("\n") for block in blocks]
    number = list(DRIVERS).index(engine)
    driver, *databases = steps_of(blocks[number][0])
    assert driver[0] == DRIVERS[engine]
    yield driver
    export = "export " + " ".join(f"{name}={value}" for name, value in server.superuser.items())
    yield from ((f"({export}; {command})", want) for command, want in databases)
    changed = texts[2]
    if engine == "mariadb":
        # SERVER from the second block, in place of the first.
        rest = ast.parse(changed).body[1].lineno - 1
        changed = "\n".join([texts[3], *changed.splitlines()[rest:]])
        changed = changed.replace("PostgresPosition", "MariaDBPosition")
        changed = changed.replace("distributed.postgresql", "distributed.mysql")
    for name, address in server.addresses.items():
        here = ", ".join(f'"{key}": "{value}"' for key, value in address.items())
        changed = changed.replace(f'"HOST": "{name}"', here)
    if "PORT" in server.addresses["127.0.0.1"]:
        changed = changed.replace('    "PORT": "5432",\n', "")
    settings = replaced((example / "shop/settings.py").read_text(), changed)
    yield f"cat > shop/settings.py <<'END OF FILE'\n{settings}END OF FILE", ""
    for block in blocks[4:]:
        steps = list(steps_of(block[0].removeprefix(block["skip"])))
        if steps[0][0].startswith(CLIENTS[engine]):
            yield from ((f"({export}; {command})", want) for command, want in steps)
        elif not steps[0][0].startswith(sum(CLIENTS.values(), ())):
            yield from steps


def replaced(settings, block):
    """Return ``settings`` with ``block`` in place of DATABASES and of its other assignments."""

    def assigned(text):
        nodes = [node for node in ast.parse(text).body if isinstance(node, ast.Assign)]
        return [(ast.unparse(node.targets[0]), node) for node in nodes]

    lines, names = settings.splitlines(), dict(assigned(block))
    for name, node in reversed(assigned(settings)):
        if name in names:
            here = block.splitlines() if name == "DATABASES" else []
            lines[node.lineno - 1 : node.end_lineno] = here
    return "\n".join(lines) + "\n"


def test_alone_by_following_its_readme(example, engine, django, environment, server):
    """In one shell, from the virtual environment to the example's own tests."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    readme = (example / "README.rst").read_text()
    assert len(BLOCK.findall(readme)) == len(ANY_BLOCK.findall(readme))
    readme, section = ON_A_SERVER.split(readme)
    wanted = list(steps_of(readme))
    assert [command for command, _ in wanted[: len(INSTALL)]] == INSTALL
    installed, instead_of = [INSTALL[0], INSTALL[2]], INSTEAD
    if server:
        here = len(INSTALL)
        if len(BLOCK.findall(section)) > 4:
            wanted[here:] = [step for step in wanted if step[0] in ON_EACH_ENGINE]
        if "``python -m pytest`` then runs there" not in section:
            wanted.remove(("python -m pytest", None))
        wanted[here:here] = steps_on_a_server(section, engine, server, example)
        installed.append(DRIVERS[engine])
        instead_of = INSTEAD | INSTEAD_ON_A_SERVER
        environment["PATH"] = environment["PATH"].replace(":", f":{server.programs}:", 1)
    script = []
    for command, _ in wanted:
        if command in installed:
            command = "true"  # done, see ``environment``
        for pattern, instead in instead_of.items():
            if re.fullmatch(pattern, command):
                instead = instead.replace("{django}", django).replace("{port}", str(port))
                command = re.sub(pattern, instead, command)
                break
        command = command.replace("\n> ", "\n")
        script.append(f'(exit $status)\n{command}\nstatus=$?\necho "\n{MARK} $status"')
    environment |= {
        "DJANGO_SUPERUSER_USERNAME": "reader",
        "DJANGO_SUPERUSER_PASSWORD": "pendulum",
        "DJANGO_SUPERUSER_EMAIL": "reader@clocks.example",
    }
    process = subprocess.run(
        ["bash", "-c", "\n".join(["status=0", *script, "python -m django --version"])],
        cwd=example,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    *said, version = re.split(rf"\n{MARK} (\d+)\n", process.stdout)
    assert version.startswith(django) and len(said) == 2 * len(wanted), process.stdout
    following = [command for command, _ in wanted[1:]] + [""]
    for (command, want), got, status, then in zip(
        wanted, said[::2], said[1::2], following, strict=True
    ):
        assert status == "0" or then == "echo $?", f"$ {command}\n{got}"
        if want is not None:
            same = OutputChecker().check_output(want, got.rstrip("\n"), doctest.ELLIPSIS)
            assert same, f"$ {command}\n{got}\nis not\n{want}"
    commands = [command for command, _ in wanted]
    if "python -m pytest" in commands:
        tests = said[2 * commands.index("python -m pytest")]
        assert " passed" in tests and " failed" not in tests
    else:
        assert server  # its README has the commands for its tests there
    if server and not (example / "replicas").exists():  # these servers need no password
        see_that_a_wrong_password_is_one_line(example, environment)


def see_that_a_wrong_password_is_one_line(example, environment):
    settings = example / "shop/settings.py"
    right = settings.read_text()
    settings.write_text(wrong := re.sub(r'("PASSWORD": )".+?"', r'\1"escapement"', right))
    assert wrong != right
    command = ["bash", "-c", ". .venv/bin/activate; python manage.py migrate --check --skip-checks"]
    process = subprocess.run(command, cwd=example, env=environment, capture_output=True, text=True)
    *_, line = process.stderr.splitlines()
    assert line.startswith('CommandError: Database "'), process.stderr
    assert re.search("password authentication failed|Access denied", line), line
    assert (process.returncode, "Traceback" in process.stderr) == (1, False)


def test_an_entry_for_a_server_is_the_same_in_each_readme():
    """It is the entry in the README at the top, which has no NAME."""
    both = re.findall(
        r"^    SERVER = \{\n(?:     .*\n)+    \}\n", (ROOT / "README.rst").read_text(), re.M
    )
    assert len(both) == 2
    for example in EXAMPLES:
        readme = (example / "README.rst").read_text()
        assert [readme.count(entry) for entry in both] == [1, 1], example


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_its_readme_has_no_slips(folder, monkeypatch):
    """A page's run would report slips, but here the README does not run as a page."""
    monkeypatch.setattr(Page, "engine", "sqlite")  # each README runs on SQLite
    page = Page.parse(str(folder / "README.rst"), *PARSERS)
    regions = [region for _, region in page.regions]
    assert len(regions) > 10
    assert [r.parsed for r in regions if r.evaluator is report_slip] == []


def test_no_migration_is_missing(example):
    command = ["manage.py", "makemigrations", "--check", "--dry-run"]
    process = subprocess.run(
        [sys.executable, *command], cwd=example, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stdout + process.stderr
