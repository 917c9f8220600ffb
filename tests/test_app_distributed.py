"""The app ``distributed`` with ``sharding``, installed by its docstring alone."""

import re
import subprocess
from textwrap import dedent

import pytest
from bare import BareProject

from livedocs.servers import Server, ServerError

MODELS = "from django.db import models\n"
FILL = """
    from notes.models import Author, Note
    from sharding.keys import new_key

    for bucket in range(0, 1024, 25):
        author = Author.objects.create(pk=new_key(bucket), name=f"author {bucket}")
        author.notes.create(text="wind the clock")
    print(Author.objects.count(), Note.objects.filter(author__name="author 50").get().text)
"""
#: Each line of the docstring, and the message when the line is missing.
LINES = {
    'DATABASE_ROUTERS = ["distributed.routers.NodeRouter"]': None,
    'COORDINATOR = "default"  # the alias that is queried': "needs COORDINATOR. Write COORDINATOR",
    "NODES = []  # without nodes, all rows are in the coordinator": "needs NODES. Write NODES = []",
    'DISTRIBUTED_APPS = {"notes"}': "needs DISTRIBUTED_APPS. Write DISTRIBUTED_APPS = {",
    "SHARDS = []": "The app sharding needs SHARDS.",
}


@pytest.fixture
def project(tmp_path):
    project = BareProject(tmp_path / "project", MODELS)
    project.take("distributed", "distributed", "sharding")
    docstring = {"notes/migrations/0002_distributed": "notes/migrations/0002_distributed.py"}
    project.follow("distributed", **docstring)
    distribute = (project.folder / "notes/migrations/0002_distributed.py").read_text()
    (project.folder / "notes/migrations/0002_distributed.py").unlink()
    project.manage("makemigrations", "notes", "-v", "0")
    project.write("notes/migrations/0002_distributed.py", distribute)
    return project


def test_the_docstring_is_enough_for_one_database(project):
    assert "no issues" in project.manage("check")
    project.manage("migrate", "-v", "0")
    assert project.shell(FILL) == "41 wind the clock\n"
    assert "There are no nodes" in project.manage("nodes")
    assert "No changes detected" in project.manage("makemigrations", "--check", "--dry-run")


@pytest.mark.parametrize(("line", "said"), LINES.items())
def test_a_line_that_is_left_out_is_said(project, line, said):
    project.replace("site_/settings.py", line, "")
    if said:
        assert said in project.manage("check", status=1)
    else:
        assert "no issues" in project.manage("check")  # without nodes, no router is needed


@pytest.fixture
def nodes():
    """The entry for a server, with four databases and a user with a password."""
    try:
        server = Server("postgresql")
    except ServerError as error:
        pytest.skip(str(error))
    rules = server.kind.data / "pg_hba.conf"
    rules.write_text(f"local all notes scram-sha-256\n{rules.read_text()}")

    def execute(sql, database="postgres"):
        subprocess.run([*server.kind.client, "-d", database], input=sql, text=True, check=True)

    execute("SELECT pg_reload_conf(); CREATE ROLE notes LOGIN PASSWORD 'pendulum';")
    for name in ("default", "node0", "node1", "node2"):
        execute(f"CREATE DATABASE notes_{name} OWNER notes;")
    yield server.kind.address["HOST"], execute
    server.stop()


def test_the_docstring_is_enough_for_servers(project, nodes):
    host, execute = nodes
    (block,) = re.findall(r"settings after ``DATABASES`` are::\n\n((?: .*\n)+)", read(project))
    entry = f"""
        DATABASES["default"] = {{
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "notes_default",
            "USER": "notes",
            "PASSWORD": "pendulum",
            "HOST": "{host}",
        }}
    """
    # Here the nodes are databases of one server.
    block = re.sub(
        r'"HOST": "(node\d)\.example"', rf'"HOST": "{host}", "NAME": "notes_\1"', dedent(block)
    )
    project.append("site_/settings.py", dedent(entry) + block)
    assert "no issues" in project.manage("check")
    project.replace("site_/settings.py", 'DATABASE_ROUTERS = ["distributed', '_ = ["distributed')
    assert "distributed.E008" in project.manage("check", status=1)
    project.replace("site_/settings.py", '_ = ["distributed', 'DATABASE_ROUTERS = ["distributed')
    (commands,) = re.findall(r"the coordinator last::\n\n((?: .*\n)+)", read(project))
    commands = [line.split()[2:] for line in commands.splitlines()]
    assert len(commands) == 5
    for command in commands[:-2]:
        project.manage(*command, "-v", "0")
    said = project.manage("migrate", status=1)
    assert '"postgres_fdw" does not exist' in said and "python manage.py sqlnodes" in said
    execute(project.manage("sqlnodes"), "notes_default")
    project.manage("migrate", "-v", "0")
    assert "no issues" in project.manage("check", "--database", "default")
    assert project.shell(FILL) == "41 wind the clock\n"
    lines = [line.split() for line in project.manage("nodes").splitlines()[1:]]
    assert sum(int(words[2]) for words in lines) == 41
    assert {tuple(words[4:]) for words in lines} == {("0", "yes", "all")}
    assert all(0 < int(words[2]) == int(words[3]) for words in lines)


def read(project):
    return (project.folder / "distributed/__init__.py").read_text()
