"""The site's search: an index of sections, made from the built pages, for ``static/search.js``.

The results are sections, not pages: each heading with an address, and each term of the glossary.
Blocks of code are in the index too, so a pasted error message is found. The marks of the blocks
(the engines on which they ran) are not in the index. ``words.toml`` maps the words that people type
to the words of the site.

The index is a script, so that it also works from a folder. Only the search page loads it.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from sphinx.application import Sphinx

from theme.page import Element, read_main

WORDS = Path(__file__).parent / "words.toml"

#: Inline elements, whose text is joined to the text next to it.
INLINE = {"a", "abbr", "b", "code", "em", "i", "kbd", "mark", "span", "strong", "sub", "sup", "wbr"}
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}


def sections_of(html: str) -> list[dict]:
    """Return a page's sections in order, each with ``id``, ``title`` and ``text``.

    ``above`` has the titles of the outer sections, without the page's title. A term of the glossary
    is a section, too.
    """
    found: list[dict] = []

    def begin(element: Element, above: list[str]) -> dict:
        section = {"id": element.attributes["id"], "title": "", "text": "", "above": above}
        found.append(section)
        return section

    def read(
        element: Element, section: dict | None, above: list[str], in_code: bool = False
    ) -> None:
        for child in element.children:
            if isinstance(child, str):
                if section:
                    section["text"] += child if in_code else re.sub(r"\s+", " ", child)
            elif child.tag == "section":
                titles = [*above, section["title"]] if section and section is not found[0] else []
                read(child, begin(child, titles), titles)
            elif child.attributes.get("id", "").startswith("term-"):
                section = begin(child, [])
                section["title"] = title_of(child)
            elif child.tag in HEADINGS and section:
                section["title"] = title_of(child)
            elif not child.is_aside and child.tag != "svg":  # Drawings are in the page as text.
                end = "" if child.tag in INLINE else "\n"
                if section:
                    section["text"] += end
                read(child, section, above, in_code or child.tag == "pre")
                if section:
                    section["text"] += end

    read(read_main(html), None, [])
    for section in found:
        # Code keeps its indentation.
        lines = (re.sub("^ (?! )", "", line.rstrip()) for line in section["text"].splitlines())
        section["text"] = "\n".join(filter(None, lines))
    return found


def title_of(heading: Element) -> str:
    parts = (
        part if isinstance(part, str) else "" if part.is_aside else part.text()
        for part in heading.children
    )
    return " ".join("".join(parts).split())


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
            for section in sections_of(html)
        ]
        pages.append([app.builder.get_target_uri(name), sections])
    index = json.dumps({"pages": pages, "words": read_words()}, ensure_ascii=False)
    (app.outdir / "searchindex.js").write_text(f"startSearch({index});\n")


def replace_search(app: Sphinx) -> None:
    """Prevent Sphinx's own index and search page, whose results are pages."""
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
