"""A page as Sybil sees it: its blocks, and how each is run in the page's own copy of its project."""

import doctest
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from unittest import SkipTest

from sybil import Document, Example, Region
from sybil.evaluators.doctest import OutputChecker
from sybil.evaluators.skip import Skipper
from sybil.example import SybilFailure
from sybil.parsers.abstract.doctest import DocTestStringParser
from sybil.parsers.rest import SkipParser
from sybil.parsers.rest.lexers import DirectiveLexer

from livedocs.interpreter import TIMEOUT, Interpreter

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PROJECT = re.compile(r"\A:project:[ \t]*(\S+)[ \t]*$", re.MULTILINE)
COMMAND = re.compile(r"^\$ (.*(?:\n> .*)*)\n?((?:(?!\$ ).*(?:\n|\Z))*)", re.MULTILINE)
FRAME = re.compile(r'File "([^"]+)", line (\d+)')
IGNORED = shutil.ignore_patterns("*.sqlite3*", "__pycache__", ".*_cache")


class Broken(Exception):
    """A block did not do its work, so that those after it have nothing to build on."""


class Page(Document):
    """A page and its session: a fresh copy of its project, and an interpreter there."""

    def __init__(self, text: str, path: str) -> None:
        super().__init__(text, path)
        self.file = Path(path)
        self.name = self.file.relative_to(ROOT).as_posix()
        self.project = project_of(self.file, text)
        self.fingerprint = fingerprint(self.file)
        self.databases: dict[str, str] = {}
        self.folder: Path | None = None
        self.interpreter: Interpreter | None = None
        self.reached = 0  # How many of the page's examples have been run.
        self.broken: int | None = None  # The line of the block that the rest can't build on.
        self.placed: dict[
            str, tuple[Path, int]
        ] = {}  # Where the text of each file put in place stands: its file, and the line before its first.
        self.shown: list[tuple[int, str, str]] = []  # Line, path and content's hash of each file shown.
        self.loaded: set[tuple[str, str]] = (
            set()
        )  # Path and content's hash of each file that a process has read.

    def evaluate(self, example: Example, evaluator) -> None:
        """Run an example, after those before it that were not selected, by ``-k`` or otherwise."""
        __tracebackhide__ = True
        examples, index = list(self), self.index(example)
        while self.reached < index and self.broken is None:
            earlier = examples[self.reached]
            try:
                self.run(earlier)
            except SkipTest:
                pass
            except SybilFailure as failure:
                if self.broken is not None:
                    raise SybilFailure(
                        example, f"it builds on line {earlier.line}, which failed:\n{failure.result}"
                    ) from None
        if self.broken is not None:
            raise SkipTest(f"{self.name}, line {self.broken} failed, and this block builds on it")
        self.run(example)

    def index(self, example: Example) -> int:
        return [region for _, region in self.regions].index(example.region)

    def run(self, example: Example) -> None:
        __tracebackhide__ = True
        self.reached += 1
        if self.folder is None:
            self.open()
        try:
            if (
                isinstance(example.region.evaluator, Skipper)
                and example.parsed[0] != "end"
                and not example.parsed[1]
            ):
                raise Broken('a skip gives its reason, which the reader sees: .. skip: next "why"\n')
            super().evaluate(example, example.region.evaluator)
        except Broken as broken:
            self.broken = example.line
            raise SybilFailure(example, self.translate(str(broken))) from None
        except SybilFailure as failure:
            raise SybilFailure(example, self.translate(failure.result)) from None

    def open(self) -> None:
        if self.project and not (EXAMPLES / self.project).is_dir():
            known = ", ".join(sorted(path.name for path in EXAMPLES.iterdir()))
            self.broken = 1
            raise Broken(f":project: {self.project} is no folder of examples/, which has: {known}")
        # Kept by the page, and so deleted with it.
        self.temporary = tempfile.TemporaryDirectory(prefix="livedocs-", ignore_cleanup_errors=True)
        self.folder = Path(self.temporary.name).resolve() / (self.project or "page")
        if self.project:
            shutil.copytree(EXAMPLES / self.project, self.folder, ignore=IGNORED)
        else:
            self.folder.mkdir()
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("DJANGO_", "PYTEST_"))
            },
            "COLUMNS": "80",
            "LIVEDOCS_FOLDER": str(self.folder),
            "LIVEDOCS_LOADED": str(self.folder.with_name("loaded")),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONDONTWRITEBYTECODE": "1",  # A file changed within a second would be taken for its .pyc.
            "PYTHONPATH": str(ROOT / "livedocs" / "traced"),
        }

    def close(self) -> None:
        if self.interpreter:
            self.interpreter.stop()
            self.interpreter = None

    def place(self, example: Example, path: str, text: str, origin: Path, line: int) -> None:
        """Put a file in the page's folder; if that changes what is there, the interpreter starts again."""
        target = (self.folder / path).resolve()
        if not target.is_relative_to(self.folder):
            raise Broken(f"{path} is outside the page's folder\n")
        if not target.exists() or target.read_text() != text:
            self.note_loaded()
            self.close()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        self.placed[str(target)] = origin, line
        self.shown.append((example.line, path, digest(target)))

    def note_loaded(self) -> None:
        log = self.folder.with_name("loaded")
        if log.exists():
            for path in {Path(line) for line in log.read_text().splitlines()}:
                if path.is_file():
                    self.loaded.add((path.relative_to(self.folder).as_posix(), digest(path)))
            log.write_text("")

    def translate(self, text: str) -> str:
        """Name the page's lines, and the project's files, in tracebacks out of the page's folder."""

        def name(match: re.Match) -> str:
            path, line = match[1], int(match[2])
            origin, before = self.placed.get(
                path, (EXAMPLES / (self.project or "") / Path(path).relative_to(self.folder), 0)
            )
            return f'File "{origin}", line {line + before}'

        return FRAME.sub(
            lambda match: name(match) if Path(match[1]).is_relative_to(self.folder) else match[0], text
        )


def project_of(page: Path, text: str) -> str | None:
    """The project that a page names in its first line; a README in ``examples/`` needn't name its own."""
    if page.parent.parent == EXAMPLES:
        return page.parent.name
    match = PROJECT.match(text)
    return match and match[1]


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def fingerprint(page: Path) -> str:
    """A hash of the page and of its project's files: when any changes, the record of its run is stale."""
    whole = hashlib.sha256(page.read_bytes())
    project = project_of(page, page.read_text())
    for folder, folders, files in os.walk(EXAMPLES / project if project else os.devnull):
        folders[:] = sorted(set(folders) - IGNORED(folder, folders))
        for file in sorted(set(files) - IGNORED(folder, files)):
            whole.update(f"{file}:{digest(Path(folder, file))}".encode())
    return whole.hexdigest()


def run_python(example: Example) -> str:
    page = example.document
    if page.interpreter is None:
        page.interpreter = Interpreter(page.file, page.folder, page.environment)
    wrong, usable, databases = page.interpreter.run(page.index(example))
    page.databases |= databases
    if not usable:
        raise Broken(wrong)
    return wrong


def run_console(example: Example) -> str:
    """Run each ``$`` line; ``$ echo $?`` shows the exit status of the one before, which must else be 0."""
    page, wrong, status, checker = example.document, "", 0, OutputChecker()
    commands = COMMAND.findall(example.region.lexemes["source"])
    if not commands:
        raise Broken("a console block has no command: a line that begins with `$ `\n")
    for (command, want), (following, _) in zip(commands, [*commands[1:], ("", "")], strict=True):
        status, got = shell(page, command.replace("\n> ", "\n"), status)
        want, got = want.rstrip("\n") + "\n", got.rstrip("\n") + "\n"
        if status and following != "echo $?":
            advice = "a page that means to show this goes on with `$ echo $?`"
            raise Broken(f"{wrong}$ {command}\n{got}ended with exit status {status}: {advice}\n")
        if not checker.check_output(want, got, doctest.ELLIPSIS):
            difference = checker.output_difference(doctest.Example("", want), got, doctest.ELLIPSIS)
            wrong += f"$ {command}\n{difference}"
    return wrong


def shell(page: Page, command: str, status: int) -> tuple[int, str]:
    """Run a command by ``sh`` in the page's folder, after one that ended with that status.

    Returns its own exit status, and what it printed.
    """
    page.note_loaded()
    process = subprocess.Popen(
        ["sh", "-c", f"(exit {status})\n{command}"],
        cwd=page.folder,
        env=page.environment,
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
        raise Broken(
            f"$ {command}\n{printed}stopped: it was still running after {TIMEOUT:g} seconds\n"
        ) from None
    return process.returncode, printed


def place_file(example: Example) -> None:
    """Put a file that the page shows, and names in its caption, in its place."""
    lexemes, page = example.region.lexemes, example.document
    source = lexemes["source"]
    before = example.line + source.line_offset
    page.place(example, lexemes["options"]["caption"], source.rstrip("\n") + "\n", page.file, before)


def include_file(example: Example) -> None:
    """Put a project's file that the page includes, whole or in part, in its place, as the project has it."""
    # Here, since a page's interpreter imports this module, and has no use for Sphinx.
    from sphinx.directives.code import LiteralIncludeReader

    lexemes, page = example.region.lexemes, example.document
    file = (page.file.parent / lexemes["arguments"]).resolve()
    if not page.project or not file.is_relative_to(EXAMPLES / page.project):
        project = page.project or "none"
        raise Broken(f"{file} is not in the project that the page's first line names: {project}\n")
    options = {name: value or None for name, value in lexemes["options"].items()}
    try:
        LiteralIncludeReader(str(file), options, SimpleNamespace(source_encoding="utf-8")).read()
        text = file.read_text()
    except (OSError, ValueError) as error:
        raise Broken(f"{error}\n") from None
    page.place(example, file.relative_to(EXAMPLES / page.project).as_posix(), text, file, 0)


def end_page(example: Example) -> str:
    """Stop the page's interpreter, and see that some process of the page read each file that it shows."""
    page = example.document
    page.note_loaded()
    page.close()
    return "".join(
        f"line {line} shows {path}, which no process of the page has read since\n"
        for line, path, content in page.shown
        if (path, content) not in page.loaded
    )


DIRECTIVES = DirectiveLexer(r"(revealjs-)?(code-block|literalinclude)")


def parse_directives(document: Document) -> Iterable[Region]:
    for region in DIRECTIVES(document):
        if region.lexemes["directive"].endswith("literalinclude"):
            region.evaluator = include_file
        elif re.fullmatch(r"[\w-]+(/[\w.-]+)+|[\w-]+\.\w+", region.lexemes["options"].get("caption", "")):
            region.evaluator = place_file
        elif region.lexemes["arguments"] == "python":
            region.evaluator, region.parsed = run_python, region.lexemes["source"]
        elif region.lexemes["arguments"] == "console":
            region.evaluator = run_console
        if region.evaluator:
            yield region


def parse_end(document: Document) -> Iterable[Region]:
    if document.regions:
        yield Region(document.end, document.end, evaluator=end_page)


def parse_doctests(document: Document) -> Iterable[Region]:
    return DocTestStringParser(run_python)(document.text, document.path)


#: What Sybil looks for in a page.
PARSERS = [parse_directives, parse_doctests, SkipParser(), parse_end]
