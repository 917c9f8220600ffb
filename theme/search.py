"""The site's search: an index of sections, made of the built pages, for ``static/search.js``.

Its results are sections, not pages: each heading with an address, and each term of the glossary. An
error message is found as it was pasted, since blocks of code are in the index with the rest; what
is said of all blocks alike (on which engine they ran) is not. ``words.toml`` has the words that
people use for those that the site uses.

The index is a script, so that it is found in a folder too, and is fetched by the search page alone.
"""

import json
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from sphinx.application import Sphinx

WORDS = Path(__file__).parent / "words.toml"

#: Elements whose text is no text of the page: drawings (which say in words what they show), marks.
LEFT_OUT = {"svg", "script", "style", "button", "nav"}
LEFT_OUT_CLASSES = {"headerlink", "livedocs", "livedocs-limits", "crumbs"}
#: Elements without an end.
VOID = {"img", "br", "wbr", "hr", "input", "link", "meta", "col", "source"}
#: Elements within a line, whose text is joined to what stands beside it.
INLINE = {"a", "abbr", "b", "code", "em", "i", "kbd", "mark", "span", "strong", "sub", "sup", "wbr"}
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}


class Sections(HTMLParser):
    """A page's sections, in order: each a dict of its ``id``, ``title`` and ``text``.

    ``above`` is the titles of the sections that one is in, but for the page's own.
    """

    def __init__(self, html: str):
        super().__init__()
        self.found: list[dict] = []
        self._elements: list[str] = []  # That are open, within the page's main part.
        self._sections: list[tuple[int, dict]] = []  # That are open, and how deep each begins.
        self._heading, self._left_out = 0, 0  # At which depth one began, if one is open.
        self.feed(html)
        for section in self.found:
            section["title"] = " ".join(section["title"].split())
            lines = (" ".join(line.split()) for line in section["text"].splitlines())
            section["text"] = "\n".join(filter(None, lines))

    def handle_starttag(self, tag: str, attributes: list) -> None:
        attributes = dict(attributes)
        if not self._elements and attributes.get("id") != "main":
            return
        if tag in VOID:
            self._add("\n" if tag == "br" else "")
            return
        self._elements.append(tag)
        depth, classes = len(self._elements), set((attributes.get("class") or "").split())
        if not self._left_out and (tag in LEFT_OUT or classes & LEFT_OUT_CLASSES):
            self._left_out = depth
        term = tag == "dt" and attributes.get("id", "").startswith("term-")
        if tag == "section" or term:
            # A term ends where the next begins, or with the list that both are in.
            while self._sections and term and self._sections[-1][0] == depth - 1:
                self._sections.pop()
            above = [section["title"] for _, section in self._sections[1:]]
            section = {"id": attributes["id"], "title": "", "text": "", "above": above}
            self.found.append(section)
            self._sections.append((depth - term, section))
        if tag in HEADINGS or term:
            self._heading = depth
        elif tag not in INLINE:
            self._add("\n")

    def handle_endtag(self, tag: str) -> None:
        if not self._elements or tag in VOID:
            return
        depth = len(self._elements)
        if self._elements.pop() != tag:
            raise ValueError(f"</{tag}> ends what it did not begin, in {self.getpos()}")
        if self._heading == depth:
            self._heading = 0
        elif tag not in INLINE:
            self._add("\n")
        if self._left_out == depth:
            self._left_out = 0
        while self._sections and self._sections[-1][0] >= depth:
            self._sections.pop()

    def handle_data(self, text: str) -> None:
        self._add(text)

    def _add(self, text: str) -> None:
        if self._sections and not self._left_out:
            self._sections[-1][1]["title" if self._heading else "text"] += text


def read_words() -> dict[str, str]:
    return tomllib.loads(WORDS.read_text())


def write_index(app: Sphinx, exception: Exception | None) -> None:
    if exception or app.builder.name != "html":
        return
    pages = []
    for name in sorted(app.env.found_docs - {app.config.notfound_pagename}):
        html = Path(app.builder.get_outfilename(name)).read_text()
        sections = [
            [section["id"], section["title"], section["text"], *section["above"]]
            for section in Sections(html).found
        ]
        pages.append([app.builder.get_target_uri(name), sections])
    index = json.dumps({"pages": pages, "words": read_words()}, ensure_ascii=False)
    (app.outdir / "searchindex.js").write_text(f"startSearch({index});\n")


def replace_search(app: Sphinx) -> None:
    """Keep Sphinx from making its own index and page: its results are pages."""
    if app.builder.name == "html":
        app.builder.search = False


def collect_page(app: Sphinx) -> Iterator[tuple[str, dict, str]]:
    if app.builder.name == "html":
        yield "search", {}, "search.html"


def setup(app: Sphinx) -> dict:
    app.connect("builder-inited", replace_search)
    app.connect("html-collect-pages", collect_page)
    app.connect("build-finished", write_index)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
