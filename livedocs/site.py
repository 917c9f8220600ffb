"""The Sphinx extension: marks each rendered block that a run proved, and warns about the rest."""

import shutil
import textwrap
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from livedocs import engines, record
from livedocs.session import ROOT
from livedocs.slips import other_name

logger = logging.getLogger(__name__)

#: The kinds of block in the record that a reader sees.
KINDS = ("place_file", "include_file", "run_python", "run_console")
TITLES = {engine: name for name, engine in engines.NAMES.items()} | {"mixed": "mixed"}


class verified_pages(nodes.General, nodes.Element):
    """A placeholder for the table of all pages and their runs, until the record is read."""


class engine_tab(nodes.General, nodes.Element):
    """A tab: a part of the page that is about some engines only."""


class VerifiedPages(SphinxDirective):
    """``.. verified-pages::`` is a table of all pages that were run, and of their engines."""

    def run(self) -> list[nodes.Node]:
        return [verified_pages()]


class EngineTab(SphinxDirective):
    """``.. engine:: PostgreSQL and MariaDB`` is a tab. Tabs that follow each other are a group."""

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True
    option_spec = {"mixed": directives.flag}

    def run(self) -> list[nodes.Node]:
        self.assert_has_content()
        name = self.arguments[0]
        if self.env.app.builder.name == "revealjs" or not engines.of_tab(name):
            raise self.error(
                f"a slide has no tabs, and a tab names {', '.join(engines.NAMES)}: {name}"
            )
        tab = engine_tab("", nodes.paragraph("", name, classes=["engine-name"]))
        tab["engines"], tab["mixed"] = engines.of_tab(name), "mixed" in self.options
        tab += self.parse_content_to_nodes()
        return [tab]


def read_record(app: Sphinx, config) -> None:
    """Store the record as a setting, so that Sphinx writes all pages again when it changes."""
    config.livedocs_record = record.read()


def number_as_in_the_file(app: Sphinx, path: Path, docname: str, content: list[str]) -> None:
    """Add blank lines in place of the lines that ``:start-after:`` left out.

    Without them, docutils' line numbers would begin at the included part.
    """
    whole = "\n".join(map(str.rstrip, (app.srcdir / path).read_text().splitlines()))
    left_out, found, _ = whole.partition(content[0])
    if found:
        content[0] = "\n" * left_out.count("\n") + content[0]


def mark_and_audit(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for place in list(doctree.findall(verified_pages)):
        place.replace_self(table_of_pages(app, docname))
    say_limits(doctree)
    name_mixed(doctree)
    blocks = sorted(doctree.findall(is_block), key=lambda node: (page_of(node), line_of(node)))
    for page, of_page in groupby(blocks, page_of):
        runs = app.config.livedocs_record.get(page, {}).values()
        limits, _ = engines.of_page((ROOT / page).read_text())
        of_page, told = list(of_page), False
        for node, after in zip(of_page, [*of_page[1:], None], strict=True):
            if not must_run(node):
                continue
            on = [engine for engine in engines_of(node) if engine in limits]
            mine = [run for run in runs if run["engine"] in on]
            if mine:
                mark(node, after and line_of(after), mine)
            elif "sqlite" not in on:
                names = [name for name, engine in engines.NAMES.items() if engine in on]
                add_mark(node, f"Not run on {' or '.join(names)} for this site", False)
            elif not told:
                told = True
                warn(
                    f"{page}: there is no run of this page in its present state, so no block of it "
                    "is proven",
                    node,
                )


def mark(node: nodes.Element, end: int | None, runs: list[dict]) -> None:
    """Write below a block what it ran on. Warn if it did not pass in one of the page's runs."""
    ran, reasons = [], set()
    for run in runs:
        examples = examples_within(run, line_of(node), end)
        if end is None:
            # The examples after the block are in a part that an ``include`` left out.
            examples = next(
                (examples[:n] for n in range(1, len(examples)) if shows(node, examples[:n])),
                examples,
            )
        if why := why_unproven(node, run, examples):
            warn(f"no passing example covers this block: {why}", node)
            return
        skipped = {example["reason"] for example in examples if "reason" in example}
        reasons |= skipped
        ran += [] if skipped else [run]
    if ran:
        kind = examples[0]["kind"].replace("_", "-")
        on_sqlite = any(run["engine"] == "sqlite" for run in ran)
        add_mark(node, f"Run on {where(ran)}", True, [kind, "on-sqlite"] if on_sqlite else [kind])
    else:
        add_mark(node, f"Not run: {', '.join(sorted(reasons))}", False)


def say_limits(doctree: nodes.document) -> None:
    """Write below a page's title which engines the page runs on, and why only these.

    In the deck, each part is a page: the text is on the first of its slides.
    """
    titles = list(doctree.findall(nodes.title))
    # In reverse order, so that the first title of each page is kept.
    for source, title in {source_of(title): title for title in reversed(titles)}.items():
        limits, why = engines.of_page(source.read_text())
        if why:
            names = [name for name, engine in engines.NAMES.items() if engine in limits]
            here = "on this page" if title is titles[0] else "in this part"
            # All engines except "mixed", which has no name.
            if names == list(engines.NAMES):
                text = (
                    f"The examples {here} run on {', '.join(names[:-1])} and {names[-1]}. In each "
                    f"run, all databases are of the same engine, because {why}"
                )
            else:
                text = f"The examples {here} run on {' and '.join(names)} only, because {why}"
            text += "" if text.endswith(".") else "."
            note = nodes.paragraph("", text, classes=["livedocs-limits"])
            title.parent.insert(title.parent.index(title) + 1, note)


def name_mixed(doctree: nodes.document) -> None:
    """Add "mixed" to the engines of the tab in each group that runs on it."""
    for parent in {tab.parent for tab in doctree.findall(engine_tab)}:
        for are_tabs, group in groupby(parent, lambda node: isinstance(node, engine_tab)):
            if are_tabs:
                tabs = list(group)
                said = engines.with_mixed([(tab["engines"], tab["mixed"]) for tab in tabs])
                for tab, on in zip(tabs, said, strict=True):
                    tab["engines"] = on


def engines_of(node: nodes.Element) -> list[str]:
    """Return the engines of a block: those of its tab, or all."""
    while node and not isinstance(node, engine_tab):
        node = node.parent
    return node["engines"] if node else list(engines.ENGINES)


def is_block(node: nodes.Node) -> bool:
    return isinstance(node, nodes.literal_block | nodes.doctest_block)


def language_of(node: nodes.Element) -> str:
    return "pycon" if isinstance(node, nodes.doctest_block) else node.get("language", "default")


def must_run(node: nodes.Element) -> bool:
    """Whether a block is, or may be, Python or commands."""
    return other_name(language_of(node)) is not None


def why_unproven(node: nodes.Element, entry: dict, examples: list[dict]) -> str | None:
    """Return why a block is not proven by a run of its page, or None if it is proven."""
    on = "" if entry["engine"] == "sqlite" else f"--engine={entry['engine']} "
    page, shown = on + page_of(node), shows(node, examples)
    if shown and all(holds(entry, example) for example in examples):
        return None
    if not any(block["kind"] == "end_page" for block in entry["blocks"].values()):
        return f"only a part of its page was run. To run all of it: pytest {page}"
    if shown:
        return f"it failed when its page was run. To see why: pytest {page}"
    if examples:
        return "a part of its text was not run: at a prompt, output ends at the first empty line"
    return other_name(language_of(node)) or (
        "the run did not find it: a code-block or a prompt must begin on its own line"
    )


def source_of(node: nodes.Node) -> Path:
    """Return the file in which a node was written."""
    while not node.source:  # docutils gives none to a doctest block in a list.
        node = node.parent
    return Path(node.source).resolve()


def page_of(node: nodes.Node) -> str:
    """Return that file's path, relative to the top of the checkout."""
    return source_of(node).relative_to(ROOT).as_posix()


def line_of(node: nodes.Node) -> int:
    return node.line or 0  # docutils gives none to ``.. include::`` with ``:code:``.


def examples_within(entry: dict, first: int, end: int | None) -> list[dict]:
    """Return the examples from a block's first line to the next block."""
    found = [
        block
        for block in entry["blocks"].values()
        if first <= block["line"]
        and (end is None or block["line"] < end)
        and block["kind"] in KINDS
    ]
    return sorted(found, key=lambda block: block["line"])


def shows(node: nodes.Element, examples: list[dict]) -> bool:
    """Whether the text of a block is exactly the text of its examples.

    Only the text counts, not the block's language or the text after it.
    """
    ran = [line for example in examples for line in lines_of(example["text"])]
    return bool(ran) and ran == lines_of(node.astext())


def lines_of(text: str) -> list[str]:
    """Return a block's lines, without the differences between the source and Sphinx's output."""
    lines = map(str.rstrip, textwrap.dedent(text.expandtabs()).splitlines())
    return [line for line in lines if line not in ("", "<BLANKLINE>")]


def holds(entry: dict, block: dict) -> bool:
    """Whether a block passed, or was skipped with a reason.

    A file that the page shows must also have been read by a process: ``end_page`` checks that.
    """
    if block["kind"] in ("place_file", "include_file") and block["outcome"] == "passed":
        return any(
            end["kind"] == "end_page" and end["outcome"] == "passed"
            for end in entry["blocks"].values()
        )
    return block["outcome"] in ("passed", "skipped")


def where(runs: list[dict]) -> str:
    """Return what a block ran on: "SQLite 3.40.1, PostgreSQL 18.6; Django 5.2.19".

    For a page on two engines at once this is "PostgreSQL 18.6 with SQLite 3.40.1", and for a page
    without a database the version of Python.
    """
    runs = sorted(runs, key=lambda run: engines.ENGINES.index(run["engine"]))
    databases = [" with ".join(sorted(set(run["databases"].values()))) for run in runs]
    if any(databases):
        djangos = sorted({run["django"] for run in runs})
        return f"{', '.join(dict.fromkeys(databases))}; Django {' and '.join(djangos)}"
    return f"Python {' and '.join(sorted({run['python'] for run in runs}))}"


def add_mark(node: nodes.Element, text: str, ran: bool, classes: Sequence[str] = ()) -> None:
    if isinstance(node.parent, nodes.container):  # A block with its caption.
        node = node.parent
    kind = "livedocs-run" if ran else "livedocs-skipped"
    mark = nodes.paragraph("", text, classes=["livedocs", kind, *classes])
    node.parent.insert(node.parent.index(node) + 1, mark)


def warn(message: str, node: nodes.Element) -> None:
    logger.warning(message, location=f"{page_of(node)}:{line_of(node)}", type="livedocs")


def table_of_pages(app: Sphinx, docname: str) -> nodes.Node:
    """Return a table of the pages that were run, with the numbers of blocks for each run."""
    record = app.config.livedocs_record
    runs = {name: run for of_page in record.values() for name, run in of_page.items()}
    names = sorted(runs, key=lambda name: (engines.ENGINES.index(runs[name]["engine"]), name))
    totals, body = [Counter() for _ in names], nodes.tbody()
    for page in sorted(record):
        counts = [count(record[page].get(name)) for name in names]
        for total, of_page in zip(totals, counts, strict=True):
            total.update(of_page)
        _, why = engines.of_page((ROOT / page).read_text())
        first = nodes.paragraph(
            "", "", link(app, docname, page), nodes.Text(f" ({why})" if why else "")
        )
        body += row(first, *map(said, counts))
    body += row(nodes.paragraph("", "All"), *map(said, totals))
    heads = [f"{TITLES[runs[name]['engine']]}, Django {runs[name]['django']}" for name in names]
    head = nodes.thead("", row(*(nodes.paragraph("", text) for text in ["Page", *heads])))
    columns = [nodes.colspec(colwidth=width) for width in [40, *[20] * len(names)]]
    return nodes.table("", nodes.tgroup("", *columns, head, body, cols=len(columns)))


def row(*cells: nodes.Node) -> nodes.row:
    return nodes.row("", *(nodes.entry("", cell) for cell in cells))


def count(run: dict | None) -> Counter:
    """Count the blocks of a run by their outcome."""
    blocks = run["blocks"].values() if run else []
    return Counter(block["outcome"] for block in blocks if block["kind"] in KINDS)


def said(counts: Counter) -> nodes.paragraph:
    words = {"passed": "", "failed": " failed", "skipped": " not run"}
    told = [f"{counts[outcome]}{word}" for outcome, word in words.items() if counts[outcome]]
    return nodes.paragraph("", ", ".join(told) or "–")


def link(app: Sphinx, docname: str, page: str) -> nodes.Node:
    found, name = app.env.path2doc(ROOT / page), nodes.literal(text=page)
    if found not in app.env.found_docs:
        return name
    uri = app.builder.get_relative_uri(docname, found)
    return nodes.reference("", "", name, internal=True, refuri=uri)


def offer_record(app: Sphinx, exception: Exception | None) -> None:
    if not exception and record.FILE.exists():
        shutil.copy(record.FILE, app.outdir)


def visit_tab(translator, node: engine_tab) -> None:
    translator.body.append(translator.starttag(node, "div", CLASS="engine"))


def depart_tab(translator, node: engine_tab) -> None:
    translator.body.append("</div>\n")


def setup(app: Sphinx) -> dict:
    app.add_config_value("livedocs_record", {}, "html", dict)
    app.add_node(verified_pages)
    app.add_node(engine_tab, html=(visit_tab, depart_tab))
    app.add_directive("verified-pages", VerifiedPages)
    app.add_directive("engine", EngineTab)
    app.connect("config-inited", read_record)
    app.connect("include-read", number_as_in_the_file)
    app.connect("doctree-resolved", mark_and_audit)
    app.connect("build-finished", offer_record)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
