"""The Sphinx extension that draws results of a number of shards as lines, and finds a limit.

``.. plot::`` draws one line for each line of its content, ``label: file | table | which``. See
`benchmarks.figures` for these names. A table's figures have names such as "8 shards". ``which`` is
median, best, p95 or times. Both axes are logarithmic: twice as much is always as far.

``:reached:`growth | postgresql | top | times | 2``` is the number of shards at which a line reaches
a value, between two measured numbers if need be.
"""

import json
import re
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import log

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from benchmarks import HERE, SERVERS
from benchmarks.figures import figure
from pictures.svg import FONTS, Picture, framed, name_of

logger = logging.getLogger(__name__)
SHARDS = re.compile(r"(\d+) shards?\b")
# In units of the drawing: a letter is 11 high. On a phone of 390 pixels it is still 12 pixels high.
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, LETTER = 324, 208, 34, 22, 38, 5.6
# The shapes of the points, around 0, 0: each line has its own, so that no colour is needed.
MARKERS = [
    '<circle r="3.6"/>',
    '<rect x="-4.5" y="-4.5" width="9" height="9" fill="none" stroke="currentColor"/>',
    '<path d="M0-4.4L4.2 3.2H-4.2Z"/>',
    '<path d="M0-4.8L4.4 0 0 4.8-4.4 0Z"/>',
]
DASHES = ["none", "7 3", "2 3", "9 3 2 3"]


def points(name: str, env=None) -> dict[int, float]:
    """Return the figures of ``file | table | which`` by the number of shards.

    Raises OSError, KeyError or ValueError if they were not measured. The page is read again if the
    results change.
    """
    pattern, *names = (part.strip() for part in name.split("|"))
    file = HERE / "results" / f"{pattern}.json"
    if env:
        env.note_dependency(str(file))
        env.note_dependency(__file__)
    known = json.loads(file.read_text(encoding="utf-8"))
    if names and names[0] in SERVERS:
        known = known[names.pop(0)]
    table, which = names
    measured = known["results"][table]
    found = {
        int(match[1]): figure(line, measured["unit"], which)
        for name, line in measured["figures"].items()
        if (match := SHARDS.fullmatch(name))
    }
    if len(found) < 2:
        raise KeyError(f"{table} has no figures by number of shards")
    return dict(sorted(found.items()))


def reached(found: dict[int, float], limit: float) -> float | None:
    """Return the number of shards at which a line first reaches a value, or None."""
    for (before, low), (after, high) in pairwise(found.items()):
        if low < limit <= high:
            return before * (after / before) ** (log(limit / low) / log(high / low))
    return None


@dataclass(frozen=True)
class Axes:
    """Where a number of shards, and a value, are in the drawing."""

    numbers: list[int]
    least: float
    most: float
    right: float

    def x(self, number: float) -> float:
        first, last = self.numbers[0], self.numbers[-1]
        return LEFT + 8 + (self.right - LEFT - 8) * log(number / first) / log(last / first)

    def y(self, value: float) -> float:
        height = HEIGHT - TOP - BOTTOM
        return TOP + height * (1 - log(value / self.least) / log(self.most / self.least))

    def ticks(self) -> list[float]:
        """Return 1, 2, 5, 10 and so on, with more steps if fewer than four are between the ends."""
        finer = [[step / parts for step in range(parts, 10 * parts)] for parts in (1, 2, 5, 10)]
        for steps in [(1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), *finer]:
            found = [step * 10.0**power for power in range(-3, 9) for step in steps]
            inside = [tick for tick in found if self.least <= tick <= self.most]
            if len(inside) > 3:
                break
        return inside


def short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{float(f'{number:.2g}'):g}"


def draw(title: str, lines: dict[str, dict[int, float]], unit: str, limit=None) -> Picture:
    """Return the picture of these lines, by their labels. ``unit`` is that of the vertical axis."""
    ends = {label: f"{label}: {short(list(found.values())[-1])}" for label, found in lines.items()}
    numbers = sorted({number for found in lines.values() for number in found})
    values = [value for found in lines.values() for value in found.values()]
    values += [] if limit is None else [limit]
    right = WIDTH - 10 - LETTER * max(map(len, ends.values()))
    axes = Axes(numbers, min(values) * 0.9, max(values) * 1.1, right)
    parts = [text(0, 10, unit, "start"), text((LEFT + right) / 2, HEIGHT - 4, "shards", "middle")]
    for tick in axes.ticks():
        at = axes.y(tick)
        parts += [rule(LEFT, at, right, at, 'opacity="0.2"')]
        parts += [text(LEFT - 4, at + 4, short(tick), "end")]
    for number in numbers:
        parts.append(text(axes.x(number), HEIGHT - BOTTOM + 15, str(number), "middle"))
    if limit is not None:
        parts.append(rule(LEFT, axes.y(limit), right, axes.y(limit), 'stroke-width="1.6"'))
    floor = 0.0
    for place, label in enumerate(
        sorted(lines, key=lambda label: -list(lines[label].values())[-1])
    ):
        found = lines[label]
        xy = [(axes.x(number), axes.y(value)) for number, value in found.items()]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in xy)
        dash = DASHES[place % len(DASHES)]
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="currentColor" stroke-width="1.5"'
            f' stroke-dasharray="{dash}"/>'
        )
        marker = MARKERS[place % len(MARKERS)]
        parts += [f'<g transform="translate({x:.1f} {y:.1f})">{marker}</g>' for x, y in xy]
        floor = max(xy[-1][1] + 4, floor + 13)  # Below the label of the line above.
        parts.append(text(xy[-1][0] + 8, floor, ends[label], "start"))
    said = "; ".join(
        f"{label}: " + ", ".join(f"{short(value)} at {number}" for number, value in found.items())
        for label, found in lines.items()
    )
    body = f'<g font-family="{FONTS}" font-size="11">{"".join(parts)}</g>'
    return Picture(title, f"{unit} by number of shards. {said}.", WIDTH, HEIGHT, body)


def text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def rule(x: float, y: float, to_x: float, to_y: float, style: str) -> str:
    ends = f'x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"'
    return f'<line {ends} stroke="currentColor" {style}/>'


class Plot(SphinxDirective):
    """``.. plot:: Title``, with ``:unit:`` for the vertical axis, and a ``:limit:`` to show."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec = {"unit": directives.unchanged_required, "limit": float}

    def run(self) -> list[nodes.Node]:
        self.assert_has_content()
        lines = {}
        for line in self.content:
            label, _, name = line.partition(": ")
            try:
                lines[label] = points(name, self.env)
            except (OSError, KeyError, TypeError, ValueError) as error:
                warn(name, error, self.get_location())
        if not lines:
            return []
        unit, limit = self.options.get("unit", "ms"), self.options.get("limit")
        picture = draw(self.arguments[0], lines, unit, limit)
        drawn = framed(picture, name_of(self.env, "plot"), "topology")
        drawn += nodes.caption(self.arguments[0], self.arguments[0])
        return [drawn]


class Reached(SphinxRole):
    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        name, _, limit = self.text.rpartition("|")
        try:
            number = reached(points(name, self.env), float(limit))
            if number is None:
                raise ValueError(f"no line reaches {limit.strip()}")
        except (OSError, KeyError, TypeError, ValueError) as error:
            warn(self.text, error, self.get_location())
            return [], []
        return [nodes.Text(f"{number:.0f}")], []


def warn(name: str, error: Exception, location) -> None:
    problem = f"no such figure in benchmarks/results: {type(error).__name__} {error}"
    logger.warning("%s: %s", name, problem, location=location)


def setup(app: Sphinx) -> dict:
    app.add_directive("plot", Plot)
    app.add_role("reached", Reached())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
