"""The Sphinx extension: marks each rendered block that a run proved, and warns of the others."""

import textwrap
from itertools import groupby
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from livedocs import record
from livedocs.session import ROOT
from livedocs.slips import other_name

logger = logging.getLogger(__name__)

KINDS = {
    "place_file": "a file, typed",
    "include_file": "a file of the project",
    "run_python": "Python",
    "run_console": "commands",
}


class verified_pages(nodes.General, nodes.Element):
    """Stands for the list of every page and its blocks, until the record is at hand."""


class VerifiedPages(SphinxDirective):
    """``.. verified-pages::`` lists every page that was run, with its blocks and where they ran."""

    def run(self) -> list[nodes.Node]:
        return [verified_pages()]


def read_record(app: Sphinx, config) -> None:
    """Keep the record as a setting, so that Sphinx writes every page again when it changes."""
    config.livedocs_record = record.read()


def number_as_in_the_file(app: Sphinx, path: Path, docname: str, content: list[str]) -> None:
    """Put blank lines for those that ``:start-after:`` left out: docutils counts from the rest."""
    whole = "\n".join(map(str.rstrip, (app.srcdir / path).read_text().splitlines()))
    left_out, found, _ = whole.partition(content[0])
    if found:
        content[0] = "\n" * left_out.count("\n") + content[0]


def mark_and_audit(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for place in list(doctree.findall(verified_pages)):
        place.replace_self(list_pages(app, docname))
    blocks = sorted(doctree.findall(is_block), key=lambda node: (page_of(node), line_of(node)))
    for page, of_page in groupby(blocks, page_of):
        entry = app.config.livedocs_record.get(page)
        of_page = list(of_page)
        to_prove = [node for node in of_page if must_run(node)]
        if entry is None:
            if to_prove:
                warn(
                    f"{page}: it was not run as it now stands, so that none of its blocks is "
                    "proven",
                    to_prove[0],
                )
            continue
        for node, after in zip(of_page, [*of_page[1:], None], strict=True):
            if node not in to_prove:
                continue
            examples = examples_within(entry, line_of(node), after and line_of(after))
            reasons = {example.get("reason") for example in examples}
            if why := why_unproven(node, entry, examples):
                warn(f"no passing example covers this block: {why}", node)
            elif reasons == {None}:
                add_mark(node, f"Run on {where(entry)}", "livedocs-run")
            else:
                add_mark(
                    node, f"Not run: {', '.join(sorted(reasons - {None}))}", "livedocs-skipped"
                )


def is_block(node: nodes.Node) -> bool:
    return isinstance(node, nodes.literal_block | nodes.doctest_block)


def language_of(node: nodes.Element) -> str:
    return "pycon" if isinstance(node, nodes.doctest_block) else node.get("language", "default")


def must_run(node: nodes.Element) -> bool:
    """Whether a block is Python or commands, by any name; one without a name could be either."""
    return other_name(language_of(node)) is not None


def why_unproven(node: nodes.Element, entry: dict, examples: list[dict]) -> str | None:
    """What keeps a block of a page that was run from being proven, if anything does."""
    page, shown = page_of(node), shows(node, examples)
    if shown and all(holds(entry, example) for example in examples):
        return None
    if not any(block["kind"] == "end_page" for block in entry["blocks"].values()):
        return f"only a part of its page was run: pytest {page} runs all"
    if shown:
        return f"it failed when its page was run: pytest {page} says why"
    if examples:
        return "not all that it shows was run: at a prompt, output ends with the first empty line"
    return other_name(language_of(node)) or (
        "the run did not find it: a code-block, or a prompt, begins on a line of its own"
    )


def page_of(node: nodes.Node) -> str:
    """The file that a node was written in, by its path from the top."""
    while not node.source:  # docutils gives none to a doctest block in a list.
        node = node.parent
    return Path(node.source).resolve().relative_to(ROOT).as_posix()


def line_of(node: nodes.Node) -> int:
    return node.line or 0  # docutils gives none to ``.. include::`` with ``:code:``.


def examples_within(entry: dict, first: int, end: int | None) -> list[dict]:
    """The examples that begin on a block's first line or later, and before the next block."""
    return [
        block
        for block in entry["blocks"].values()
        if first <= block["line"]
        and (end is None or block["line"] < end)
        and block["kind"] in KINDS
    ]


def shows(node: nodes.Element, examples: list[dict]) -> bool:
    """Whether a block's text is that of its examples: all of it, and nothing else.

    A block may be called anything, and be followed by anything: it was run if this was run.
    """
    ran = [line for example in examples for line in lines_of(example["text"])]
    return bool(ran) and ran == lines_of(node.astext())


def lines_of(text: str) -> list[str]:
    """A block's lines, without what Sphinx takes out of one or adds to it."""
    lines = map(str.rstrip, textwrap.dedent(text.expandtabs()).splitlines())
    return [line for line in lines if line not in ("", "<BLANKLINE>")]


def holds(entry: dict, block: dict) -> bool:
    """Whether a block ran and passed, or says why it is not run.

    A file that the page shows must also have been read, which the page's end finds out.
    """
    if block["kind"] in ("place_file", "include_file") and block["outcome"] == "passed":
        return any(
            end["kind"] == "end_page" and end["outcome"] == "passed"
            for end in entry["blocks"].values()
        )
    return block["outcome"] in ("passed", "skipped")


def where(entry: dict) -> str:
    """What a page ran on: "SQLite 3.40.1, Django 5.2.19"; without a database, the Python."""
    databases = sorted(set(entry["databases"].values()))
    return ", ".join(
        [*databases, f"Django {entry['django']}"] if databases else [f"Python {entry['python']}"]
    )


def add_mark(node: nodes.Element, text: str, kind: str) -> None:
    if isinstance(node.parent, nodes.container):  # A block with its caption.
        node = node.parent
    mark = nodes.paragraph("", text, classes=["livedocs", kind])
    node.parent.insert(node.parent.index(node) + 1, mark)


def warn(message: str, node: nodes.Element) -> None:
    logger.warning(message, location=f"{page_of(node)}:{line_of(node)}", type="livedocs")


def list_pages(app: Sphinx, docname: str) -> list[nodes.Node]:
    items = nodes.definition_list()
    for page, entry in sorted(app.config.livedocs_record.items()):
        blocks = [block for block in entry["blocks"].values() if block["kind"] in KINDS]
        lines = nodes.bullet_list()
        for block in sorted(blocks, key=lambda block: block["line"]):
            text = f"line {block['line']}: {KINDS[block['kind']]}, {block['outcome']}"
            text += f" ({block['reason']})" if "reason" in block else ""
            lines += nodes.list_item("", nodes.paragraph("", text))
        found = app.env.path2doc(ROOT / page)
        name = nodes.literal(text=page)
        if found in app.env.found_docs:
            uri = app.builder.get_relative_uri(docname, found)
            name = nodes.reference("", "", name, internal=True, refuri=uri)
        summary = f"{len(blocks)} blocks on {where(entry)}, with Python {entry['python']}"
        items += nodes.definition_list_item(
            "", nodes.term("", "", name), nodes.definition("", nodes.paragraph("", summary), lines)
        )
    return [items]


def setup(app: Sphinx) -> dict:
    app.add_config_value("livedocs_record", {}, "html", dict)
    app.add_node(verified_pages)
    app.add_directive("verified-pages", VerifiedPages)
    app.connect("config-inited", read_record)
    app.connect("include-read", number_as_in_the_file)
    app.connect("doctree-resolved", mark_and_audit)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
