"""A page as a Sybil document: finds its blocks, and runs each kind of block."""

import doctest
import re
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from unittest import SkipTest

from sphinx.directives.code import LiteralIncludeReader
from sybil import Document, Example, Region
from sybil.evaluators.doctest import OutputChecker
from sybil.example import SybilFailure
from sybil.parsers.abstract.doctest import DocTestStringParser

from livedocs.engines import blank, of_page, standbys_of, text_for
from livedocs.interpreter import FLAGS
from livedocs.session import EXAMPLES, NEW, ROOT, Broken, Session, digest, digest_project
from livedocs.slips import (
    A_FILE,
    DIRECTIVES,
    PROJECT,
    SKIP,
    is_output,
    parse_lines,
    prose_of,
    report_slip,
    wrong_with_directive,
)
from livedocs.timelines import timelines_of, wanted
from livedocs.zips import download, taken_by

COMMAND = re.compile(r"^\$ (.*(?:\n> .*)*)\n?((?:(?!\$ ).*(?:\n|\Z))*)", re.MULTILINE)


class Page(Document):
    """A page. Its blocks run in its session, in the order of the page."""

    engine = "sqlite"  # The engine for all pages, one of `servers.ENGINES`.

    def __init__(self, text: str, path: str) -> None:
        self.file = Path(path)
        self.name = self.file.relative_to(ROOT).as_posix()
        self.project = project_of(self.file, text)
        engines, self.limits = of_page(text)
        self.runs = self.engine in engines
        # A page without a project has no database, so no engine makes a difference.
        on_it = self.runs and (self.project or self.engine == "sqlite")
        super().__init__(text_for(text, self.engine) if on_it else blank(text), path)
        self.fingerprint = fingerprint(self.file)
        self.timelines = timelines_of(self.text)
        self.session: Session | None = None
        # The line, path and hash of each file that the page has shown.
        self.shown: list[tuple[int, tuple[Path, str]]] = []
        self.reached = 0  # How many examples have been run.
        self.broken: int | None = None  # The line of a failed block that the rest needs.
        self.reason: str | None = None  # Why the next block is not run.

    def evaluate(self, example: Example, evaluator) -> None:
        """Run an example. First run those above it that pytest did not select (by ``-k``, say)."""
        __tracebackhide__ = True
        examples, index = list(self), [region for _, region in self.regions].index(example.region)
        while self.reached < index and self.broken is None:
            earlier = examples[self.reached]
            try:
                self.run(earlier)
            except SkipTest:
                pass
            except SybilFailure as failure:
                if self.broken:
                    wrong = f"it needs line {earlier.line}, which failed:\n{failure.result}"
                    raise SybilFailure(example, wrong) from None
        if self.broken:
            raise SkipTest(f"{self.name}, line {self.broken} failed, and this block needs it")
        if self.session:
            self.session.take_events()  # Discard the events of earlier blocks.
        self.run(example)

    def run(self, example: Example) -> None:
        __tracebackhide__ = True
        self.reached += 1
        try:
            self.session = self.session or self.begin()
            self.session.note_events(wanted(self.timelines, example.line))
            reason, self.reason = self.reason, None
            if reason:
                raise SkipTest(reason)
            super().evaluate(example, example.region.evaluator)
        except Broken as broken:
            self.broken, wrong = example.line, str(broken)
        except SybilFailure as failure:
            wrong = failure.result
        else:
            return
        if self.session and (ended := self.session.server_ended()):
            self.broken, wrong = example.line, f"{wrong}{ended}\n"
        raise SybilFailure(example, self.session.translate(wrong) if self.session else wrong)

    def begin(self) -> Session:
        text = self.file.read_text()
        session = Session(self.file, self.project, self.engine, standbys_of(text))
        if self.project == NEW:
            download(taken_by(text), session.folder.with_name("Downloads"))
        if self.timelines:
            session.environment["LIVEDOCS_EVENTS"] = str(session.events)
        return session


def project_of(page: Path, text: str) -> str | None:
    """Return the project that a page names in its first line, or the project of a README."""
    if page.parent.parent == EXAMPLES:
        return page.parent.name
    match = PROJECT.match(text)
    return match and match[1]


def fingerprint(page: Path) -> str:
    """Return a hash of the page and its project. If it changes, the record of a run is stale."""
    text = page.read_text()
    project = project_of(page, text)
    sources = taken_by(text) if project == NEW else [project] if project else [""]
    return " ".join([digest(page), *(source and digest_project(source) for source in sources)])


def text_of(page: Page, region: Region) -> str:
    """Return a block's text as it was run. The audit looks for the same text on the site."""
    if isinstance(region.parsed, str):
        return str(region.parsed)  # Sybil's own subclass of str
    return page.text[region.start : region.end]


def run_python(example: Example) -> str:
    block, line = example.parsed, example.line
    if isinstance(block, str):
        block, line = str(block), line + block.line_offset + 1
    return example.document.session.run_python(block, line)


def run_console(example: Example) -> str:
    """Run each ``$`` line. Its exit status must be 0, unless ``$ echo $?`` is the next line."""
    wrong, status, checker = "", 0, OutputChecker()
    commands = COMMAND.findall(example.parsed)
    if not example.parsed.startswith("$ "):
        raise Broken("a console block must begin with a command, on a line that begins with `$ `\n")
    for (command, want), (following, _) in zip(commands, [*commands[1:], ("", "")], strict=True):
        session = example.document.session
        status, got, kept = session.run_command(command.replace("\n> ", "\n"), status)
        want, got = want.rstrip("\n") + "\n", got.rstrip("\n") + "\n"
        if status and following != "echo $?":
            advice = "if the page is to show this, write `$ echo $?` on the next line"
            ended = f"the command ended with exit status {status}"
            raise Broken(f"{wrong}$ {command}\n{got}{ended}: {advice}\n")
        if kept:
            raise Broken(
                f"{wrong}$ {command}\nthis command changes its shell ({kept}), and the next "
                "command here runs in another shell, without the change: write "
                "(cd folder && command), or NAME=value command\n"
            )
        if not checker.check_output(want, got, FLAGS):
            difference = checker.output_difference(doctest.Example("", want), got, FLAGS)
            wrong += f"$ {command}\n{difference}"
    return wrong


def place_file(example: Example) -> None:
    """Write a file that the page shows, under the path that its caption names."""
    page, source = example.document, example.region.lexemes["source"]
    caption = A_FILE.fullmatch(example.region.lexemes["options"]["caption"])
    path, at_end, text = caption["path"], bool(caption["end"]), source.rstrip("\n") + "\n"
    before = example.line + source.line_offset
    had = page.session.file(path) if at_end else None
    file = page.session.place(path, text, page.file, before, at_end)
    # A process that reads the file now also reads the text that was shown before.
    page.shown = [(line, file if shown == had else shown) for line, shown in page.shown]
    page.shown.append((example.line, file))


def include_file(example: Example) -> None:
    """Write a file that the page includes, as the project has it. The whole file is written."""
    page, lexemes = example.document, example.region.lexemes
    # As in Sphinx, a path that begins with a slash starts at the top of the site or of the deck.
    top = ROOT / page.name.partition("/")[0]
    start = top if lexemes["arguments"].startswith("/") else page.file.parent
    file = (start / lexemes["arguments"].lstrip("/")).resolve()
    if not page.project or not file.is_relative_to(EXAMPLES / page.project):
        project = page.project or "none"
        raise Broken(f"{file} is not in the project that the page's first line names: {project}\n")
    options = {name: value or None for name, value in lexemes["options"].items()}
    if added := options.keys() & {"prepend", "append", "diff"}:
        raise Broken(f":{', '.join(sorted(added))}: shows text that the file lacks: remove it\n")
    try:
        reader = LiteralIncludeReader(str(file), options, SimpleNamespace(source_encoding="utf-8"))
        example.region.parsed, _ = reader.read()
        text = file.read_text()
    except (OSError, ValueError) as error:
        raise Broken(f"{error}\n") from None
    path = file.relative_to(EXAMPLES / page.project).as_posix()
    if (caption := options.get("caption", path)) != path:
        raise Broken(f"the caption is {caption}, but the file is {path}\n")
    page.shown.append((example.line, page.session.place(path, text, file, 0)))


def end_page(example: Example) -> str:
    """Stop the interpreter, and check that some process has read each file that the page shows."""
    page, session = example.document, example.document.session
    session.note_loaded()
    session.close()
    return "".join(
        f"line {line} shows {path.relative_to(session.folder)}, but no process of the page has "
        "read this file since: import or run it below\n"
        for line, (path, hashed) in page.shown
        if (path, hashed) not in session.loaded
    )


def skip_page(example: Example) -> None:
    raise SkipTest(f"the page does not run on {example.document.engine}: {example.document.limits}")


def skip_next(example: Example) -> None:
    example.document.reason = example.parsed


def parse_directives(document: Document) -> Iterable[Region]:
    for region in DIRECTIVES(document):
        region.parsed = region.lexemes["source"]
        if wrong := wrong_with_directive(region, document.text[region.start :]):
            region.parsed, region.evaluator = wrong, report_slip
        elif region.lexemes["directive"].endswith("literalinclude"):
            region.evaluator = include_file
        elif "caption" in region.lexemes["options"]:
            region.evaluator = place_file
        elif region.lexemes["arguments"] == "python":
            region.evaluator = run_python
        elif region.lexemes["arguments"] == "console":
            region.evaluator = run_console
        if region.evaluator:
            yield region


def parse_doctests(document: Document) -> Iterable[Region]:
    prose, end = prose_of(document), 0
    try:
        regions = list(DocTestStringParser(run_python)(prose, document.path))
    except ValueError as error:  # "line 3 of the docstring for … lacks blank after >>>: …"
        line, wrong = re.match(r"line (\d+) of the docstring for .+? (\w+ .*)", str(error)).groups()
        start = sum(map(len, prose.splitlines(keepends=True)[: int(line) - 1]))
        regions = [Region(start, start, f"an example at the prompt {wrong}", report_slip)]
    for region in regions:
        above = "".join(prose[: region.start].splitlines()[-1:]).strip()
        wrong, follows, end = None, region.start == end, region.end
        if above and not follows and not above.startswith(">>>"):
            wrong = "an example at the prompt needs an empty line above it, or it is prose"
        elif getattr(region.parsed, "options", None):
            wrong = (
                f"{region.parsed.source}doctest's flags are not allowed in a page. To skip a "
                'block, give the reason: .. skip: next "why". In output, ... stands for any text.'
            )
        if wrong:
            region = Region(region.start, region.start, wrong, report_slip)
        yield region


def parse_skips(document: Document) -> Iterable[Region]:
    for match in SKIP.finditer(prose_of(document)):
        if is_output(document, match.start()):
            continue
        region = Region(match.start(), match.end(), match[2], skip_next)
        below = document.text[match.end() :].lstrip("\n")
        starts = [start for start, _ in document.regions]
        if len(document.text) - len(below) not in starts or not re.match(rf"{match[1]}\S", below):
            region.evaluator = report_slip
            region.parsed = "a skip must be right above its block, with the same indentation"
        yield region


def parse_end(document: Document) -> Iterable[Region]:
    if not document.runs:
        yield Region(0, 0, evaluator=skip_page)
    elif document.regions:
        yield Region(document.end, document.end, evaluator=end_page)


#: The parsers that Sybil applies to a page.
PARSERS = [parse_directives, parse_doctests, parse_skips, parse_lines, parse_end]
