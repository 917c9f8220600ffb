"""The ``topology`` directive draws a project's databases, with reads and writes.

The picture shows the answers of the project's settings and routers, so it always agrees with them.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from livedocs.interpreter import SETTINGS, TIMEOUT
from livedocs.session import EXAMPLES, IGNORED, digest, digest_project, environment, files_of
from pictures.svg import CODE, STYLE, Picture, cleaned, figure, lay_out, quoted

logger = logging.getLogger(__name__)

ROUTES = Path(__file__).with_name("routes.py")
#: If more databases than this have the same role, only the first and the last are drawn.
MANY = 6
#: The units that Graphviz keeps free around a frame that is drawn separately.
OUTSIDE = 8
BY_HINT = r"reads and writes,\nby a hint"
EDGES = {  # Drawn from the model to the database, which puts the models on the left.
    "reads and writes": "dir=both",
    BY_HINT: "dir=both",
    "writes": "",
    "reads": "dir=back style=dashed arrowtail=vee",
    "table only": "arrowhead=none style=dotted",
}
REPLICATES = "style=bold arrowhead=open"
# The style of a wide picture, which is for slides and needs large letters.
WIDE = """
  nodesep=0.1 ranksep=0.35 fontsize=11
  node [margin="0.1,0.07"] edge [fontsize=11]
"""
GAP = 'shape=plain style="" label="⋮"'


class CannotAsk(Exception):
    """The project can't be drawn. The message has the reason."""


@dataclass(frozen=True)
class Box:
    """Models with the same reads and writes, or apps that are not the project's own."""

    names: tuple[str, ...]
    own: bool
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    tables: tuple[str, ...]
    #: If the router needs a hint to choose one of `tables`: what happens without a hint.
    split: str = ""
    #: If the router raises an error for all reads or for all writes: a sentence.
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


class Topology(SphinxDirective):
    """``.. topology:: sharding`` draws that project of examples/. A caption may follow the name.

    ``:before: migrate; replicate --snapshot`` names commands of its ``manage.py``, which make what
    the routers need. For a slide, ``:wide:`` draws fewer details, and more databases side by side.
    ``:models: Product, Review`` draws only these models.
    """

    optional_arguments = 2
    final_argument_whitespace = True
    option_spec = {
        "before": directives.unchanged_required,
        "wide": directives.flag,
        "models": lambda names: tuple(re.split(r",\s*", directives.unchanged_required(names))),
    }

    def run(self) -> list[nodes.Node]:
        project = self.arguments[0] if self.arguments else ""
        try:
            picture = self.picture(project)
        except CannotAsk as problem:
            self.env.note_reread()  # Warn in each build, until there is a picture.
            where = self.get_location()
            logger.warning(".. topology:: %s", problem, location=where, type="pictures")
            return []
        shown = figure(self.env, picture, "topology")
        if len(self.arguments) > 1:
            caption, messages = self.parse_inline(self.arguments[1])
            shown += [nodes.caption("", "", *caption), *messages]
        return [shown]

    def picture(self, project: str) -> Picture:
        """Return the project's picture. It is drawn again only if the project has changed."""
        known = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
        if project not in known:
            what = f"examples/ has no folder {project}" if project else "it names no project"
            raise CannotAsk(f"{what}: name one of {', '.join(known)}")
        for file in files_of(project):
            self.env.note_dependency(file)
        before, models = self.options.get("before", ""), self.options.get("models", ())
        wide = "wide" in self.options
        now = [digest_project(project), *map(digest, CODE)]
        # Sphinx stores its environment from one build to the next.
        drawn = self.env.__dict__.setdefault("pictures", {})
        then, picture = drawn.get((project, before, wide, models), (None, None))
        if then != now:
            picture = draw(project, ask(EXAMPLES / project, before), wide, models)
            drawn[project, before, wide, models] = now, picture
        return picture


def ask(folder: Path, before: str = "") -> dict:
    """Return the answers of the project in that folder, after these commands (`pictures.routes`).

    The project runs in a copy of the folder, so a router that opens a database leaves no file.
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
    """Run Python in a copy of the project in that folder. Return the output."""
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
        raise CannotAsk(f"{folder.name} could not be asked. Correct this error:\n{said}")
    return process.stdout


def draw(project: str, facts: dict, wide: bool = False, models: tuple[str, ...] = ()) -> Picture:
    """Return the picture of these facts, with these models, or else with all models."""
    if unknown := set(models) - {model["name"] for model in facts["models"]}:
        raise CannotAsk(f"{project} has no model {' and no '.join(sorted(unknown))}")
    shown = [model for model in facts["models"] if not models or model["name"] in models]
    boxes, databases = boxes_of(shown), facts["databases"]
    groups = groups_of(boxes, databases)
    frames = {
        number: lay_out(frame(group, role(group, boxes, databases, wide), databases, wide))
        for number, group in enumerate(groups)
        if len(group) > 1
    }
    sizes = {number: (width, height) for number, (width, height, _) in frames.items()}
    width, height, graph = lay_out(dot(boxes, groups, sizes, databases, wide))
    for node in graph:
        found = re.fullmatch(r"d(\d+)", node.findtext("title", ""))
        if found and (number := int(found[1])) in frames:
            put_in_place(frames[number][2], node)
    described = describe(boxes, databases)
    return Picture(
        title=f"The databases of examples/{project}",
        description=f"{described} Other models are not drawn." if models else described,
        width=width,
        height=height,
        body=cleaned(graph),
    )


def put_in_place(drawing: ElementTree.Element, node: ElementTree.Element) -> None:
    """Put a frame, which was drawn separately, in the place of an empty box of its size."""
    points = [point.split(",") for point in node.find("polygon").get("points").split()]
    left, top = (min(float(point[axis]) for point in points) - OUTSIDE for axis in (0, 1))
    drawing.set("transform", f"translate({left:g} {top:g}) {drawing.get('transform')}")
    node[:] = [drawing]


def boxes_of(models: list[dict]) -> list[Box]:
    """Group the models with the same reads and writes: first the project's, then the others."""
    names = [model["name"] for model in models if model["own"]]
    boxes: dict[tuple, dict[str, None]] = {}
    for model in sorted(models, key=lambda model: not model["own"]):
        name = model["name"] if model["own"] else model["app"]
        if names.count(name) > 1:
            name = f"{model['app']}.{name}"
        boxes.setdefault((model["own"], *routes(model)), {})[name] = None
    return [Box(tuple(named), *rest) for rest, named in boxes.items()]


def routes(model: dict) -> tuple:
    """Return the fields of a model's box, from `reads` on."""
    reads, writes, tables = (
        tuple(model["reads"]["aliases"]),
        tuple(model["writes"]["aliases"]),
        tuple(model["tables"]),
    )
    no_read, no_write = model["reads"]["raises"], model["writes"]["raises"]
    split = refuses = ""
    if no_read and no_write:
        split = f"the router raises {no_read}"
    elif no_read or no_write:
        refuses = f"For a {'read' if no_read else 'write'}, the router raises {no_read or no_write}"
    elif len(tables) > 1 and reads == writes and not set(reads) & set(tables):
        split = f"Django uses {those(reads)}, which has no such table"
    return reads, writes, tables, split, refuses


def groups_of(boxes: list[Box], databases: dict) -> list[list[str]]:
    """Group the aliases with the same role: shards, or replicas of one primary."""
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
    """Return the drawing, in Graphviz's language: boxes on the left, the databases in a column.

    In place of several databases there is an empty box, with the width and height in `sizes`.
    """
    lines = []
    for number, group in enumerate(groups):
        alone = number not in sizes
        looks = cylinder(group[0], databases, wide) if alone else kept_free(*sizes[number])
        lines.append(f"d{number} [{looks}]")
    node = {alias: f"d{number}" for number, group in enumerate(groups) for alias in group}
    for number, box in enumerate(boxes):
        lines.append(f"m{number} [{sheet(box)}]")
        for kind, end in dict.fromkeys((kind, node[alias]) for kind, alias in box.edges()):
            lines.append(f'm{number} -> {end} [label=" {kind} " {EDGES[kind]}]')
    replications = dict.fromkeys(
        (node[at["primary"]], node[alias]) for alias, at in databases.items() if at["primary"]
    )
    replicate = [f"{of} -> {to} [{REPLICATES}]" for of, to in replications]
    # Invisible lines keep the databases in a column, in the order of the settings.
    column = [f"d{number}" for number in range(len(groups))]
    if wide:  # one rank further, for a line that leaves the column
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
    return "\n".join(["digraph { rankdir=LR", STYLE, WIDE if wide else "", *lines, "}"])


def frame(group: list[str], label: str, databases: dict, wide: bool = False) -> str:
    """Draw several databases below each other, in a frame. In a wide picture, draw them in pairs.

    Databases with replicas are not drawn in pairs, so that each is next to its replicas.
    """
    shown = group if len(group) <= MANY else [group[0], "", group[-1]]
    names = [f"d{row}" for row in range(len(shown))]
    nodes = [
        f"{name} [{cylinder(alias, databases, wide) if alias else GAP}]"
        for name, alias in zip(names, shown, strict=True)
    ]
    pairs = wide and "" not in shown and (len(shown) > 2 or databases[shown[0]]["primary"])
    size = 2 if pairs else 1
    rows = [names[start : start + size] for start in range(0, len(names), size)]
    lines = [" -> ".join(first for first, *_ in rows)] if len(rows) > 1 else []
    lines += [f"rank=same; {' -> '.join(row)}" for row in rows if len(row) > 1]
    unseen = [f"{{ {line} [style=invis] }}" for line in lines]
    inner = "\n".join([f"style=rounded margin=10 label={quoted(label)}", *nodes, *unseen])
    looks = f"{STYLE} {WIDE if wide else ''} pad=0 ranksep=0.12"
    return f"digraph {{ {looks} subgraph cluster {{ {inner} }} }}"


def kept_free(width: float, height: float) -> str:
    """Return an invisible box, for a frame of that width and height."""
    inches = [(side - 2 * OUTSIDE) / 72 for side in (width, height)]
    size = "width={:.3f} height={:.3f} fixedsize=true".format(*inches)
    return f'shape=box style="" color=transparent label="" {size}'


def cylinder(alias: str, databases: dict, wide: bool = False) -> str:
    """Return a database: its alias, its engine, and its primary.

    A wide picture has the engine only if there are several engines, and lines to show the primary.
    """
    at = databases[alias]
    engine = [at["engine"] or "no engine"]
    replica = [f"replica of {at['primary']}"] if at["primary"] else []
    if wide:
        several = len({at["engine"] for at in databases.values()}) > 1
        engine, replica = engine if several else [], []
    return f"shape=cylinder label={quoted(alias, *engine, *replica)}"


def sheet(box: Box) -> str:
    """Return a box of models, one in a line, or of other apps, in a paler frame."""
    if box.own:
        return f"shape=box label={quoted(*box.names)}"
    return f'shape=box style="rounded" label={quoted(*textwrap.wrap(", ".join(box.names), 20))}'


def role(group: list[str], boxes: list[Box], databases: dict, wide: bool = False) -> str:
    """Return a short text for several databases with the same role."""
    if databases[group[0]]["primary"]:
        return f"{len(group)} replicas"
    if any(box.split and group[0] in box.tables for box in boxes):
        return f"{len(group)} shards" if wide else f"split over {len(group)} databases"
    return f"one of {len(group)} databases"


def describe(boxes: list[Box], databases: dict) -> str:
    """Return the whole picture as text, for readers who do not see it."""
    engines: dict[str, list[str]] = {}
    primaries: dict[str, list[str]] = {}
    for alias, at in databases.items():
        engines.setdefault(at["engine"] or "no engine", []).append(alias)
        if at["primary"]:
            primaries.setdefault(at["primary"], []).append(alias)
    sentences = [
        "; ".join(f"{those(aliases)} on {engine}" for engine, aliases in engines.items()),
        *(f"Replicated from {of}: {those(aliases)}" for of, aliases in primaries.items()),
        *(sentence for box in boxes for sentence in ways(box)),
    ]
    used = {alias for box in boxes for _, alias in box.edges()}
    if idle := [
        alias for alias, at in databases.items() if not at["primary"] and alias not in used
    ]:
        sentences.append(f"No model in the picture uses {those(idle, 'or')}")
    return " ".join(f"{sentence}." for sentence in sentences)


def ways(box: Box) -> list[str]:
    """Return sentences about a box's models."""
    models, several = listed(box.names), len(box.names) > 1
    subject = f"{models} {'are' if several else 'is'}"
    if box.split:
        over = [f"{subject} split over {those(box.tables)}"] if box.tables else []
        return [*over, f"For a query of {listed(box.names, 'or')} without a hint, {box.split}"]
    if box.reads == box.writes:
        routed = [f"read from and written to {those(box.reads, 'or')}"]
    else:
        routed = [f"read from {those(box.reads, 'or')}"] if box.reads else []
        routed += [f"written to {those(box.writes, 'or')}"] if box.writes else []
    sentences = [f"{subject} {', and '.join(routed)}"]
    sentences += [box.refuses] if box.refuses else []
    if rest := [alias for alias in box.tables if alias not in box.reads + box.writes]:
        tables = "have tables" if several else "has a table"
        sentences.append(f"{models} also {tables} in {those(rest)}")
    return sentences


def those(aliases: tuple[str, ...] | list[str], word: str = "and") -> str:
    """Return the databases, or of very many the number, the first and the last."""
    if len(aliases) > MANY:
        return f"{len(aliases)} databases (the first {aliases[0]}, the last {aliases[-1]})"
    return listed(aliases, word)


def listed(names: tuple[str, ...] | list[str], word: str = "and") -> str:
    """Return the names as in a sentence: "a", "a and b", "a, b and c"."""
    *most, last = names or ["none"]
    return f"{', '.join(most)} {word} {last}" if most else last
