"""The examples' files on the site: the complete files that pages show, and zips of folders.

The caption of a part of a file links to the page of the whole file, at the first line shown. A page
offers a zip by ``:take:``: of an example by ``:take:`replication```, or of an app by
``:take:`replication/replicas```. These pages and zips are not in the site's search, and not meant
for search engines: a search should find the page that explains the file.
"""

from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from pygments.lexers import find_lexer_class_for_filename
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole
from sphinx.util.osutil import relative_uri

from livedocs.session import EXAMPLES
from livedocs.zips import write_zip, zip_path


class Take(SphinxRole):
    """``:take:`replication/replicas``` links to the zip of an app, or of an example."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        example, slash, app = self.text.partition("/")
        examples = [path.parent.name for path in sorted(EXAMPLES.glob("*/manage.py"))]
        apps = [path.parent.name for path in sorted(EXAMPLES.glob(f"{example}/*/__init__.py"))]
        if example not in examples or (slash and app not in apps):
            within, known = (example, apps) if example in examples else ("", examples)
            message = self.inliner.reporter.error(
                f":take:`{self.text}` is neither an example nor an app of an example: "
                f"examples/{within} has {', '.join(known)}",
                line=self.lineno,
            )
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]
        self.env.metadata[self.env.docname].setdefault("taken", []).append(self.text)
        path = zip_path(self.text)
        if self.env.app.builder.name != "html":  # A book has no zips.
            return [nodes.literal("", Path(path).name)], []
        uri = relative_uri(f"{self.env.docname}.html", path)
        return [nodes.reference("", Path(path).name, internal=True, refuri=uri)], []


def link_captions(app: Sphinx, doctree: nodes.document) -> None:
    if app.builder.name != "html":
        return
    shown = app.env.metadata[app.env.docname]["shown"] = []
    for block in doctree.findall(nodes.literal_block):
        file = Path(block.get("source", ""))  # Only an included file has a source.
        if not (isinstance(block.parent, nodes.container) and file.is_relative_to(EXAMPLES)):
            continue
        caption, name = block.parent[0], file.relative_to(EXAMPLES).as_posix()
        uri = relative_uri(f"{app.env.docname}.html", f"examples/{name}.html")
        uri += f"#L-{first_line(file.read_text(), block.astext())}"
        link = nodes.reference("", "", *caption.children, internal=True, refuri=uri)
        caption.children = []
        caption += link
        shown.append(name)


def first_line(whole: str, part: str) -> int:
    """Return the line number at which a part of a file begins, with any indentation."""
    lines, wanted = ([line.strip() for line in text.splitlines()] for text in (whole, part))
    starts = range(len(lines) - len(wanted) + 1)
    return 1 + next(start for start in starts if lines[start : start + len(wanted)] == wanted)


def collect_pages(app: Sphinx) -> Iterator[tuple[str, dict, str]]:
    """Make a page for each file that a page shows."""
    if app.builder.name != "html":
        return
    shown_on: dict[str, list[str]] = {}
    for docname, fields in sorted(app.env.metadata.items()):
        for name in dict.fromkeys(fields.get("shown", [])):
            shown_on.setdefault(name, []).append(docname)
    for name, docnames in sorted(shown_on.items()):
        example, _, path = name.partition("/")
        lexer = find_lexer_class_for_filename(path)
        context = {
            "title": f"{path} in the example {example}",
            "example": example,
            "path": path,
            "zip": zip_path(example),
            "shown_on": [(docname, app.env.titles[docname].astext()) for docname in docnames],
            "body": app.builder.highlighter.highlight_block(
                (EXAMPLES / name).read_text(),
                lexer.aliases[0] if lexer else "text",
                linespans="L",
                location=name,
            ),
        }
        yield f"examples/{name}", context, "file.html"


def write_zips(app: Sphinx, exception: Exception | None) -> None:
    if exception or app.builder.name != "html":
        return
    taken = {path.parent.name for path in EXAMPLES.glob("*/manage.py")}
    taken.update(*(fields.get("taken", []) for fields in app.env.metadata.values()))
    for folder in taken:
        path = app.outdir / zip_path(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_zip(EXAMPLES / folder, path)


def setup(app: Sphinx) -> dict:
    app.add_role("take", Take())
    app.connect("doctree-read", link_captions)
    app.connect("html-collect-pages", collect_pages)
    app.connect("build-finished", write_zips)
    return {"env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
