"""A page's session: a folder with a fresh copy of its project, and the processes that run there."""

import doctest
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from livedocs.interpreter import TIMEOUT, Interpreter
from livedocs.servers import Server, ServerError, server_of

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
IGNORED = shutil.ignore_patterns("*.sqlite3*", "__pycache__", ".*")
#: The project of a page that makes its own project, in an empty folder.
NEW = "new"
FRAME = re.compile(r'File "([^"]+)", line (\d+)')
#: Commands that print the state of a shell. A reader's shell would keep changes of it.
STATE = 'echo "folder $PWD"; echo "umask $(umask)"; echo "options $-"; alias; set'


class Broken(Exception):
    """A block failed, and the blocks after it can't run without it."""


class Session:
    #: This process's server, which its pages use one after another.
    server: Server | None = None

    def __init__(
        self,
        page: Path,
        project: str | None,
        engine: str = "sqlite",
        standbys: Sequence[str] = (),
    ):
        self.page, self.project = page, project
        if project not in (None, NEW) and not (EXAMPLES / project).is_dir():
            known = ", ".join(sorted(path.name for path in EXAMPLES.iterdir()))
            raise Broken(
                f":project: {project} is not a folder of examples/, which has: {known}. For a page "
                f"that makes its own project, write :project: {NEW}\n"
            )
        self.temporary = tempfile.TemporaryDirectory(prefix="livedocs-", ignore_cleanup_errors=True)
        self.folder = Path(self.temporary.name).resolve() / (project or "page")
        if project not in (None, NEW):
            shutil.copytree(EXAMPLES / project, self.folder, ignore=IGNORED)
        else:
            self.folder.mkdir()
        self.log = self.folder.with_name("loaded")
        self.connected = self.folder.with_name("connected")
        self.environment = environment() | {
            "LIVEDOCS_CONNECTED": str(self.connected),
            "LIVEDOCS_FOLDER": str(self.folder),
            "LIVEDOCS_LOADED": str(self.log),
            "PYTHONPATH": str(ROOT / "livedocs" / "traced"),
        }
        if project == NEW:
            self.environment["HOME"] = str(self.folder.parent)
        if engine != "sqlite":
            self.use_server(engine, standbys)
        # The file of the events in the page's databases, while a timeline draws them.
        self.events = self.folder.with_name("events")
        self.wanted: dict | None = None
        self.noted = 0  # How many characters of this file were read.
        # The databases' last contents, if nothing changed them since.
        self.seen: dict | None = None
        self.interpreter: Interpreter | None = None
        # For each alias that was used, the database and version: {"default": "SQLite 3.40.1"}.
        self.databases: dict[str, str] = {}
        # For each file that was written: the source of its text, and the line above its first line.
        self.placed: dict[Path, tuple[Path, int]] = {}
        # The path and hash of each file that a process has read.
        self.loaded: set[tuple[Path, str]] = set()

    def use_server(self, engine: str, standbys: Sequence[str]) -> None:
        """Use this process's server for the project's databases. All old databases are dropped.

        ``standbys`` are the aliases of a standby server. A server with a standby is not used for
        pages without one, because its user has fewer privileges.
        """
        try:
            server = Session.server
            if server and (
                server.end() or bool(standbys) != bool(server.standby) or not server.drop_all()
            ):
                server.stop()
                Session.server = None
            if not Session.server:
                Session.server = Server(server_of(engine), with_standby=bool(standbys))
        except ServerError as error:
            raise Broken(f"{error}\n") from None
        kind = Session.server.kind
        standby = Session.server.standby
        change = {
            "mixed": engine == "mixed",
            "django": kind.django,
            "address": kind.address,
            "new": self.project == NEW,
            "standbys": dict.fromkeys(standbys, standby.address if standby else {}),
        }
        # On Debian, an option file has precedence over the variable for MariaDB's own client.
        self.folder.with_name(".my.cnf").write_text(kind.options)
        self.environment |= kind.variables | {
            "HOME": str(self.folder.parent),
            "LIVEDOCS_SERVER": json.dumps(change),
            "PATH": os.pathsep.join([str(kind.bin), self.environment["PATH"]]),
        }

    def note_events(self, wanted: dict | None) -> None:
        """Record these events from now on, or with None, no events."""
        if wanted == self.wanted:
            return
        self.wanted, self.seen = wanted, None
        if wanted:
            self.noted = self.events.write_text(f"{json.dumps(wanted)}\n")
        else:
            self.events.unlink()

    def note_step(self, text: str) -> None:
        """Begin a step of a timeline: a block of Python, or a command."""
        if self.events.exists():
            with self.events.open("a") as file:
                file.write(json.dumps({"kind": "step", "text": text}) + "\n")

    def take_events(self) -> list[dict]:
        """Return the events since the last call."""
        if not self.events.exists():
            return []
        text = self.events.read_text()[self.noted :]
        self.noted += len(text)
        events = []
        for event in map(json.loads, text.splitlines()):
            if event["kind"] == "look":
                same, self.seen = self.seen == event["databases"], event["databases"]
                if same:  # Nothing changed since the last look, which is the usual case.
                    continue
            elif event["kind"] != "step":
                self.seen = None
            events.append(event)
        return events

    def server_ended(self) -> str:
        """Return how the page's server ended, or "" if it runs, or if the page has none."""
        on_server = "LIVEDOCS_SERVER" in self.environment
        return Session.server.end() if on_server else ""

    def run_python(self, block: str | doctest.Example, line: int) -> str:
        """Run a block that begins on that line. Return the difference in its output, or ""."""
        self.note_step(block if isinstance(block, str) else f">>> {block.source}")
        if self.interpreter is None:
            self.interpreter = Interpreter(self.page, self.folder, self.environment)
        wrong, usable = self.interpreter.run(block, line)
        if not usable:
            raise Broken(wrong)
        return wrong

    def run_command(self, command: str, status: int) -> tuple[int, str, str]:
        """Run a command by ``sh``, after a command that ended with that status.

        Returns the exit status, the output, and the changes to the state of the shell, which a
        reader's shell would keep for the next commands.
        """
        self.note_loaded()
        self.note_step(f"$ {command}")
        states = [self.folder.with_name("before"), self.folder.with_name("after")]
        before, after = (f"{{ {STATE}; }} > {shlex.quote(str(state))}" for state in states)
        states[1].unlink(missing_ok=True)
        script = f"{before}; (exit {status})\n{command}\nLIVEDOCS_STATUS=$?; {after}"
        process = subprocess.Popen(
            ["sh", "-c", f"{script}; exit $LIVEDOCS_STATUS"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            printed, _ = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            printed, _ = process.communicate()
            stopped = f"stopped: it was still running after {TIMEOUT:g} seconds"
            raise Broken(f"$ {command}\n{printed}{stopped}\n") from None
        return process.returncode, printed, changes_of_shell(command, *states)

    def place(
        self, path: str, text: str, origin: Path, before: int, at_end: bool = False
    ) -> tuple[Path, str]:
        """Write a file with that text. If this changes the file, stop the interpreter.

        With ``at_end``, the text is added to the file. Returns the file's path and hash, as in
        `loaded`.
        """
        target = (self.folder / path).resolve()
        if not target.is_relative_to(self.folder):
            raise Broken(f"{path} is outside the page's folder\n")
        if at_end:
            if not target.exists():
                raise Broken(f"this block is added to {path}, but there is no such file\n")
            had = target.read_text() + "\n"
            text, before = had + text, before - had.count("\n")
        if not target.exists() or target.read_text() != text:
            self.note_loaded()
            self.close()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        self.placed[target] = origin, before
        return target, digest(target)

    def file(self, path: str) -> tuple[Path, str] | None:
        """Return the path and hash of a file in the page's folder, or None if there is no file."""
        target = (self.folder / path).resolve()
        return (target, digest(target)) if target.is_file() else None

    def note_loaded(self) -> None:
        """Read the processes' log of files that they read, before any of these files changes."""
        if self.log.exists():
            read = {Path(line) for line in self.log.read_text().splitlines()}
            self.loaded |= {(path, digest(path)) for path in read if path.is_file()}
            self.log.write_text("")
        if self.connected.exists():
            lines = self.connected.read_text().splitlines()
            self.databases |= dict(line.split(" ", 1) for line in lines)

    def translate(self, text: str) -> str:
        """Replace paths of the page's folder in tracebacks by the page's or the project's own."""

        def translate_frame(match: re.Match) -> str:
            path, line = Path(match[1]), int(match[2])
            if not path.is_relative_to(self.folder):
                return match[0]
            project = self.folder if self.project == NEW else EXAMPLES / (self.project or "")
            origin, before = self.placed.get(path, (project / path.relative_to(self.folder), 0))
            return f'File "{origin}", line {before + line}'

        return FRAME.sub(translate_frame, text)

    def close(self) -> None:
        if self.interpreter:
            self.interpreter.stop()
            self.interpreter = None


def changes_of_shell(command: str, before: Path, after: Path) -> str:
    """Return the changes that a command made to its shell, for example ``A='1'``, or ""."""
    if not after.exists():
        return "it ended the shell"
    loops = [f"{name}=" for name in re.findall(r"\bfor (\w+) in\b", command)]
    # The shell also keeps the variable of a loop, which does no harm.
    ours = ("LIVEDOCS_STATUS=", "OLDPWD=", "PWD=", *loops)
    had, has = (
        {line for line in state.read_text().splitlines() if not line.startswith(ours)}
        for state in (before, after)
    )
    return ", ".join(sorted(has - had or had - has)).replace(f"{before.parent}/", "")


def environment() -> dict[str, str]:
    """The environment of all processes of a page, the same on every machine.

    From the caller's environment it takes only ``PATH`` and ``TMPDIR``.
    """
    here = str(Path(sys.executable).parent)
    return {
        **{name: os.environ[name] for name in ("TMPDIR",) if name in os.environ},
        "COLUMNS": "80",
        "HOME": tempfile.gettempdir(),
        "LC_ALL": "C.UTF-8",
        "PATH": os.pathsep.join([here, os.environ.get("PATH", os.defpath)]),
        # Python would use an old .pyc for a file that changes within the same second.
        "PYTHONDONTWRITEBYTECODE": "1",
        # As on a terminal, output and errors appear in the order in which they are printed.
        "PYTHONUNBUFFERED": "1",
        "TZ": "UTC",
    }


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def files_of(project: str) -> list[Path]:
    """Return a project's files, in an order that is the same on every machine."""
    found = []
    for folder, folders, files in os.walk(EXAMPLES / project):
        folders[:] = set(folders) - IGNORED(folder, folders)
        found += [Path(folder, file) for file in set(files) - IGNORED(folder, files)]
    return sorted(found)


def digest_project(project: str) -> str:
    """Return a hash of the names and contents of a project's files."""
    whole = hashlib.sha256()
    for path in files_of(project):
        # A relative path, so that the record is valid wherever the checkout is.
        whole.update(f"{path.relative_to(EXAMPLES)}:{digest(path)}".encode())
    return whole.hexdigest()
