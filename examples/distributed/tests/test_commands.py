"""The commands in order, in a copy of the project with empty databases."""

import pytest
from django.conf import settings

from conftest import needs_nodes, needs_servers
from tests.engines import only_sqlite

MIGRATE_NODES = [("migrate", "customers", f"--database={node}") for node in settings.NODES]


def run(manage, *arguments, status=0):
    process = manage(*arguments)
    assert process.returncode == status, process.stdout + process.stderr
    return process.stdout if status == 0 else process.stderr


def test_from_nothing_to_a_shop(manage):
    for arguments in [*MIGRATE_NODES, ("migrate",)]:
        run(manage, *arguments)
    assert "no issues" in run(manage, "check", "--database", "default")
    said = run(manage, "populate", "--customers", "300")
    assert said.startswith("100 products; 300 customers: default 300; ")
    assert run(manage, "reconcile").startswith(
        "Addresses released, because no customer has them: 0"
    )
    assert "No changes" in run(manage, "makemigrations", "--check", "--dry-run")
    lines = run(manage, "nodes").splitlines()
    if not settings.NODES:
        assert lines == [
            "There are no nodes, because NODES is empty. All rows are in one database."
        ]
    else:
        found = [line.split() for line in lines[1:]]
        assert [words[0] for words in found] == settings.NODES
        assert sum(int(words[2]) for words in found) == 300
        assert {tuple(words[4:]) for words in found} == {("0", "yes", "all")}


@needs_servers
def test_the_coordinator_before_the_nodes(manage):
    assert run(manage, "migrate", status=1) == (
        "CommandError: node0 has no table customers_customer. First run: python manage.py migrate "
        "customers --database=node0\n"
    )
    assert "lacks customers.0001_initial, customers.0002_distributed" in run(manage, "nodes")
    for arguments in [*MIGRATE_NODES, ("migrate",)]:
        run(manage, *arguments)


@needs_servers
def test_a_table_with_rows(manage):
    run(manage, "migrate", "customers", "0001")
    manage("shell", "-c", "from customers.models import *; Customer.objects.create(name='a')")
    for arguments in MIGRATE_NODES:
        run(manage, *arguments)
    assert run(manage, "migrate", status=1) == (
        "CommandError: customers_customer has rows in default, and only an empty table can be "
        "distributed. Move the rows to the nodes with takeover.\n"
    )


@needs_servers
def test_a_user_without_the_rights(manage, servers):
    """The administrator's statements have not been executed. Then they are."""
    for arguments in MIGRATE_NODES:
        run(manage, *arguments)
    servers.forbid()
    try:
        said = run(manage, "migrate", status=1)
        assert said.startswith("CommandError: The coordinator does not know the nodes node0, node1")
        assert said.count("\n") == 1 and said.endswith("python manage.py sqlnodes\n")
        for statement in run(manage, "sqlnodes").splitlines():
            servers.sql("default", statement, database="shop")
        run(manage, "migrate")
        assert "no issues" in run(manage, "check", "--database", "default")
    finally:
        servers.allow()


@needs_servers
def test_a_server_that_is_down_is_one_line(manage, outage):
    for arguments in [*MIGRATE_NODES, ("migrate",)]:
        run(manage, *arguments)
    outage.kill("node1")
    process = manage("check", "--database", "default")
    assert process.returncode == 0 and 'The node "node1" is unavailable: ' in process.stderr
    lines = run(manage, "nodes").splitlines()
    assert len(lines) == 4 and " down: " in lines[2]
    for arguments in (("populate",), MIGRATE_NODES[1]):
        said = run(manage, *arguments, status=1)
        assert said.count("\n") == 1 and said.startswith("CommandError: "), said
        assert "node1" in said
    outage.kill("default")
    for command in ("populate", "reconcile", "migrate", "nodes"):
        process = manage(command)
        assert process.stderr.count("\n") == (command != "nodes"), process.stderr
        assert "Traceback" not in process.stderr


@needs_nodes
def test_the_suite_is_on_servers(servers):
    if servers is None:
        pytest.skip("the servers are those of shop/settings.py")
    hosts = {(d["HOST"], d["PORT"]) for d in settings.DATABASES.values()}
    assert len(hosts) == len(settings.DATABASES) == 4


@only_sqlite("sqlnodes has statements for this engine")
def test_no_nodes(manage):
    assert run(manage, "sqlnodes", status=1) == (
        "CommandError: There are no nodes to make known: NODES is empty.\n"
    )
