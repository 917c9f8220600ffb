"""Each page as Markdown, next to its HTML, and ``llms.txt`` with a list of them, for programs.

``patterns/sharding.md`` has the content of ``patterns/sharding.html``: code with its language and
its file, tables, links to the Markdown of other pages, the tab of each engine under the engine's
name, and the text of each drawing. The Markdown is made from the HTML. sphinx-markdown-builder
makes it from the sources, but reads all of them again, and leaves out tabs, captions and drawings.
"""

import re
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from sphinx import addnodes
from sphinx.application import Sphinx

from theme.page import Element, read_main
from theme.search import HEADINGS, INLINE

#: Characters that would be Markdown in a text. An underscore inside a word is not.
SIGNS = re.compile(r"[\\`*\[\]<]|(?<![^\W_])_|_(?![^\W_])")
#: The languages of blocks that have another name in Markdown than in Sphinx.
LANGUAGES = {"whole": "", "text": ""}


class Writer:
    """Writes a page's elements as Markdown. ``pages`` are the addresses of pages with Markdown."""

    def __init__(self, pages: set[str], page: str):
        self.pages, self.page = pages, page

    def blocks(self, element: Element) -> str:
        """Return the content of an element, as blocks with an empty line between them."""
        blocks, line = [], []
        for child in [*element.children, None]:
            if isinstance(child, str) or (child and child.tag in INLINE | {"br", "img"}):
                line.append(child)
                continue
            if text := self.line(line):
                blocks.append(text)
            line = []
            if child and not child.is_aside:
                blocks.append(self.block(child))
        return "\n\n".join(filter(None, blocks))

    def block(self, element: Element) -> str:
        tag, classes = element.tag, element.classes
        if tag in HEADINGS:
            return f"{'#' * int(tag[1])} {self.line(element.children)}"
        if "engine-name" in classes:
            return f"**On {self.line(element.children)}:**"
        if tag == "summary" or "exercise-title" in classes:
            return f"**{self.line(element.children)}**"
        if "code-block-caption" in classes:
            text = self.line(element.children)
            return f"{text}:" if "[" in text else f"`{element.children[0].text()}`:"
        if "admonition" in classes or tag == "blockquote":
            return re.sub("^", "> ", self.blocks(element), flags=re.M)
        if tag == "p":
            return self.line(element.children)
        if tag == "pre":
            return fenced(element.text().strip("\n"), "")
        if languages := [name[10:] for name in classes if name.startswith("highlight-")]:
            code = next(element.find("pre")).text().strip("\n")
            if languages[0] == "default":  # Sphinx's word for a block at the prompt, or a file.
                return fenced(code, "pycon" if code.startswith(">>> ") else "python")
            return fenced(code, LANGUAGES.get(languages[0], languages[0]))
        if tag in ("ul", "ol"):
            return self.items(element)
        if tag == "dl":
            return self.definitions(element)
        if tag == "table":
            return self.table(element)
        if tag == "svg":
            said = [part for tag in ("title", "desc") for part in element.find(tag)]
            return f"> Drawing: {'. '.join(self.line(part.children) for part in said)}"
        return self.blocks(element)

    def items(self, element: Element) -> str:
        items = []
        for number, item in enumerate(element.elements(), 1):
            mark = f"{number}. " if element.tag == "ol" else "- "
            items.append(mark + indented(self.blocks(item), len(mark)))
        return ("\n\n" if any("\n\n" in item for item in items) else "\n").join(items)

    def definitions(self, element: Element) -> str:
        items, terms = [], []
        for part in element.elements():
            if part.tag == "dt":
                terms.append(f"**{self.line(part.children)}**")
            else:
                items.append(f"- {', '.join(terms)}: {indented(self.blocks(part), 2)}")
                terms = []
        return "\n".join(items)

    def table(self, element: Element) -> str:
        rows = [list(row.elements()) for row in element.find("tr")]
        lines = [f"| {' | '.join(map(self.cell, row))} |" for row in rows]
        if not next(element.find("thead"), None):
            lines.insert(0, f"|{'  |' * len(rows[0])}")
        lines.insert(1, f"|{' --- |' * len(rows[0])}")
        caption = next(element.find("caption"), None)
        above = f"{self.line(caption.children)}\n\n" if caption else ""
        return above + "\n".join(lines)

    def cell(self, element: Element) -> str:
        return re.sub(r"\s*\n\s*", "<br>", self.blocks(element)).replace("|", r"\|")

    def line(self, children: list) -> str:
        """Return text for use within a line, with Markdown's special characters escaped."""
        return re.sub(r"[ \n]+", " ", "".join(map(self.inline, children))).strip()

    def inline(self, child: Element | str) -> str:
        if isinstance(child, str):
            return SIGNS.sub(r"\\\g<0>", child)
        if child.is_aside:
            return ""
        text = "".join(map(self.inline, child.children))
        if child.tag == "code":
            text = " ".join(child.text().split())
            return f"`` {text} ``" if "`" in text else f"`{text}`"
        if child.tag == "a" and text.strip():
            return f"[{text.strip()}]({self.address(child.attributes.get('href', ''))})"
        if child.tag in ("strong", "b"):
            return f"**{text}**"
        if child.tag in ("em", "i"):
            return f"*{text}*"
        if child.tag == "img":
            return f"![{child.attributes.get('alt', '')}]({child.attributes['src']})"
        return " " if child.tag == "br" else text

    def address(self, href: str) -> str:
        path = urlsplit(href).path
        if path.endswith(".html") and urlsplit(urljoin(self.page, href)).path in self.pages:
            return href.replace(".html", ".md", 1)
        return href


def fenced(code: str, language: str) -> str:
    fence = "`" * max(3, *(len(ticks) + 1 for ticks in re.findall("`+", code)), 0)
    return f"{fence}{language}\n{code}\n{fence}"


def indented(text: str, by: int) -> str:
    return re.sub(r"\n(?=[^\n])", "\n" + " " * by, text)


def to_markdown(html: str, pages: set[str], page: str) -> str:
    return Writer(pages, page).blocks(read_main(html)) + "\n"


def write_pages(app: Sphinx, exception: Exception | None) -> None:
    if exception or app.builder.name != "html":
        return
    names = app.env.found_docs - {app.config.notfound_pagename}
    pages = {app.builder.get_target_uri(name) for name in names}
    for name in names:
        page = app.builder.get_target_uri(name)
        html = Path(app.builder.get_outfilename(name)).read_text()
        (app.outdir / page).with_suffix(".md").write_text(to_markdown(html, pages, page))
    (app.outdir / "llms.txt").write_text(list_for_programs(app))


def list_for_programs(app: Sphinx) -> str:
    """Return ``llms.txt``: a description of the site, and the pages in the menu's order."""
    root, summaries = app.config.root_doc, app.env.metadata

    def entry(name: str) -> str:
        address = urljoin(app.config.html_baseurl, f"{name}.md")
        return (
            f"- [{app.env.titles[name].astext()}]({address}): {summaries[name].get('summary', '')}"
        )

    parts = [f"# {app.config.project}", f"> {summaries[root].get('summary', '')}", entry(root)]
    for toctree in app.env.get_doctree(root).findall(addnodes.toctree):
        lines = [entry(name) for _, name in toctree["entries"] if name in app.env.titles]
        parts += [f"## {toctree['caption']}"] if toctree["caption"] else []
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def setup(app: Sphinx) -> dict:
    app.connect("build-finished", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
