"""Starts a coordinator and three nodes on this machine, and stops them again.

The tests use this file. You can also start the servers by hand, and stop them by Ctrl-C::

    python tests/cluster.py postgresql
    python tests/cluster.py mariadb

Each name is an alias: ``default`` is the coordinator, and ``node0`` to ``node2`` are the nodes.
These are four separate servers, each with a database ``shop`` and a user ``shop`` with the password
``pendulum``. The user is not a superuser. ``tests/servers.py`` has the rest: the temporary folder,
the link ``servers`` that leads to it, and the end of the servers.

Without a server on this machine, and without the plugin Spider for MariaDB, this raises
``Unavailable``.
"""

import signal
import sys
from getpass import getuser

import servers
from servers import Unavailable

ALIASES = ("default", "node0", "node1", "node2")


class PostgreSQL(servers.PostgreSQL):
    """The nodes ask ``shop`` for the password, which a user who is not a superuser must have."""

    names = ALIASES
    ports = dict(zip(ALIASES, range(5501, 5505), strict=True))

    def create(self):
        first = self.folder / self.names[0]
        initdb = [self.bin / "initdb", "-D", first, "-A", "trust", "-U", "postgres", "--no-sync"]
        self.run(*initdb, "-E", "UTF8", "--locale=C")
        (first / "pg_hba.conf").write_text(
            "local all postgres trust\nlocal all all scram-sha-256\n"
        )
        for name in self.names[1:]:
            self.run("cp", "-a", first, self.folder / name)
        for name in self.names:
            with (self.folder / name / "postgresql.conf").open("a") as file:
                file.write(
                    "shared_buffers = 16MB\nlisten_addresses = ''\nfsync = off\n"
                    f"unix_socket_directories = '{self.folder}'\nport = {self.ports[name]}\n"
                )
        self.start(*self.names)
        for name in self.names:
            self.sql(name, "CREATE ROLE shop LOGIN CREATEDB PASSWORD 'pendulum'")
        self.allow("template1")  # so that new databases have it too, such as those of a test run
        for name in self.names:
            self.sql(name, "CREATE DATABASE shop OWNER shop")

    def allow(self, database="shop"):
        """Let ``shop`` make nodes known to the coordinator."""
        for statement in (
            "CREATE EXTENSION IF NOT EXISTS postgres_fdw",
            "GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO shop",
        ):
            self.sql(self.names[0], statement, database=database)

    def forbid(self):
        self.sql(self.names[0], "DROP EXTENSION postgres_fdw CASCADE", database="shop")

    def sql(self, name, statement, parameters=(), **database):
        with self.connect(name, **database) as connection:
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def empty(self):
        """Make the databases ``shop`` again, the coordinator's first: it is connected to nodes."""
        for name in self.names:
            self.sql(name, "DROP DATABASE IF EXISTS shop WITH (FORCE)")
            self.sql(name, "CREATE DATABASE shop OWNER shop")

    def host(self, name):
        return {"HOST": str(self.folder), "PORT": str(self.ports[name])}


class MariaDB(servers.MariaDB):
    """The coordinator has the plugin Spider, and connects to the sockets of the nodes."""

    prefix = "sp"
    names = ALIASES
    without = {"--read-only", "--log-bin=log", "--log-slave-updates", "--gtid-strict-mode"}

    def __init__(self, link=None):
        servers.Servers.__init__(self, link)  # servers.MariaDB would name a primary and replicas

    def create(self):
        self.ports = dict(zip(ALIASES, servers.free_ports(len(ALIASES)), strict=True))
        first = self.folder / self.names[0]
        self.run(
            *[self.install, "--no-defaults", f"--datadir={first}", "--skip-test-db"],
            *["--auth-root-authentication-method=socket", f"--auth-root-socket-user={getuser()}"],
            *["--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0"],
            f"--tmpdir={self.folder}",
        )
        for name in self.names[1:]:
            self.run("cp", "-a", first, self.folder / name)
        self.start(*self.names)
        for name in self.names:
            for statement in (
                "CREATE DATABASE shop CHARACTER SET utf8mb4",
                "CREATE USER shop@localhost IDENTIFIED BY 'pendulum'",
                "GRANT ALL ON `%shop%`.* TO shop@localhost",
            ):
                self.sql(name, statement)
        try:
            self.sql(self.names[0], "INSTALL PLUGIN spider SONAME 'ha_spider'")
        except self.error as error:
            raise Unavailable(
                "the plugin Spider is missing: install it (Debian: apt install "
                f"mariadb-plugin-spider). {error.args[1]}"
            ) from error
        self.allow()

    def allow(self):
        self.sql(self.names[0], "GRANT FEDERATED ADMIN ON *.* TO shop@localhost")
        self.sql(self.names[0], "GRANT SELECT ON mysql.servers TO shop@localhost")

    def forbid(self):
        self.sql(self.names[0], "REVOKE FEDERATED ADMIN ON *.* FROM shop@localhost")

    def sql(self, name, statement, parameters=(), **database):
        return super().sql(name, statement, parameters)

    def empty(self):
        for name in self.names:
            self.sql(name, "DROP DATABASE shop")
            self.sql(name, "CREATE DATABASE shop CHARACTER SET utf8mb4")
        self.sql(self.names[0], "DELETE FROM mysql.servers WHERE Server_name LIKE 'shop\\_%'")
        self.sql(self.names[0], "FLUSH PRIVILEGES")

    def command(self, name):
        return [part for part in super().command(name) if part not in self.without]

    def host(self, name):
        return {"HOST": str(self.folder / f"{name}.sock"), "PORT": ""}


ENGINES = {"postgresql": PostgreSQL, "mariadb": MariaDB}


def main(arguments):
    if len(arguments) != 1 or arguments[0] not in ENGINES:
        return "Usage: python tests/cluster.py postgresql, or the same with mariadb"
    try:
        with ENGINES[arguments[0]]("servers") as cluster:
            print(
                f"{', '.join(cluster.names)}: sockets in servers/. Ctrl-C stops them.\n"
                f"Their settings are in tests/{arguments[0]}.py. In another terminal, write:\n"
                f"export DJANGO_SETTINGS_MODULE=tests.{arguments[0]}",
                flush=True,
            )
            signal.pause()
    except Unavailable as error:
        return f"No server was started: {error}"
    except KeyboardInterrupt:
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
