"""The ``timeline`` directive draws what a page's blocks did to the databases.

While the page ran, `livedocs` recorded each statement on the timeline's models, and the contents of
each database after each block. So the picture always agrees with the run. Time runs from top to
bottom. A step is a statement or a command of the page, and each database has a line.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from livedocs.engines import ENGINES
from livedocs.session import ROOT
from livedocs.timelines import timelines_of
from pictures.svg import FONTS, Picture, framed, name_of

logger = logging.getLogger(__name__)

SIZE = 11  # The height of letters, in units.
LETTER, CAPITAL, CODE_LETTER = 5.6, 7.6, 6.65  # The usual widths of letters, in prose and in code.
SOME = 3  # The number of values that an UPDATE shows.
LINE = 14  # From one line of a label to the next.
MARK = 5  # The radius of a mark.
BROAD = 14  # A label with so many letters fills its line.
GAP = 11  # The distance from the line of a database to its labels.
LANE = 56  # The minimum width of a lane.
WIDTH = 320  # The minimum width of the picture: the width of a phone, with letters of full size.
CODE = "ui-monospace, Menlo, Consolas, monospace"

WITHOUT_RUN = (
    "A diagram of the blocks above is missing here. It is drawn from a run of this page, and this "
    "site was built without a run."
)


class timeline(nodes.General, nodes.Element):
    """A placeholder for the picture, until the record is read."""


class Timeline(SphinxDirective):
    """``.. timeline:: reviews.Review.text`` draws the blocks between the heading above and itself.

    It names one or more models. With a field, the picture shows that field's values. ``:watch:``
    has lines of ``name = expression``. Each expression is evaluated in the page's Python after each
    block, and drawn. The picture begins with the statement or command that contains the text of
    ``:from:``. ``:writes:`` leaves out the reads, and ``:commits:`` adds the commits of
    transactions. The content is the caption.
    """

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec = {
        "from": directives.unchanged_required,
        "watch": directives.unchanged_required,
        "writes": directives.flag,
        "commits": directives.flag,
    }

    def run(self) -> list[nodes.Node]:
        source, line = self.get_source_info()
        place = timeline("", page=Path(source).resolve(), line=line, place=self.get_location())
        place["from"] = self.options.get("from", "")
        place["name"] = name_of(self.env, "timeline")
        place += self.parse_content_to_nodes()
        return [place]


@dataclass
class Mark:
    """What happened to one database at one time, and how often."""

    #: "write", "read", "stale", "refused", "commit", "rollback", "arrival", "gone", or "change".
    kind: str
    alias: str
    lines: list[str]
    words: str
    source: str = ""  # The database from which an arrival came.
    process: int = 0
    by: str = ""  # The command that did it, if the step is not a command.
    #: Marks of a step with the same value are drawn as one, if no other process was between them.
    like: tuple = ()
    times: int = 1
    run: int = 0
    y: float = 0


@dataclass
class Step:
    text: str
    marks: list[Mark] = field(default_factory=list)
    #: The watched values, by name: the value as text, and whether it is true.
    watched: dict[str, tuple[str, bool]] = field(default_factory=dict)


@dataclass
class Run:
    """The content of a timeline: the steps, the databases, and when each was behind or gone."""

    steps: list[Step] = field(default_factory=list)
    #: Each database with an event, and its primary, or "".
    aliases: dict[str, str] = field(default_factory=dict)
    watches: list[str] = field(default_factory=list)
    #: Pairs of an alias and a mark (None: the end), in order, where a replica falls behind or
    #: catches up.
    spans: dict[str, list[list[Mark | None]]] = field(default_factory=dict)
    away: dict[str, list[list[Mark | None]]] = field(default_factory=dict)


class Reader:
    """Makes a Run of the recorded events."""

    def __init__(self, several: bool):
        self.run = Run()
        self.several = several  # Several models: each mark names its model.
        self.held: dict[str, dict | None] = {}
        self.written: set[str] = set()  # The aliases that Django wrote to since the last look.
        self.unseen: dict[str, Mark] = {}  # By primary: the first write that replicas lack.
        self.changes = 0  # Changes of process or step: marks are not merged across them.
        self.last = None

    def of(self, events: list[dict]) -> Run:
        self.run.steps.append(Step(""))
        for event in in_order(events):
            getattr(self, f"on_{event['kind']}")(**event)
        watched, steps = {}, []
        for step in self.run.steps:
            news = {name: value for name, value in step.watched.items() if name in watched}
            news |= {name: value for name, value in step.watched.items() if value[1]}
            steps += [step] if step.marks or news.items() - watched.items() else []
            watched |= step.watched
        self.run.steps = steps
        return self.run

    @property
    def step_now(self) -> Step:
        return self.run.steps[-1]

    def on_step(self, text: str, **event) -> None:
        self.run.steps.append(Step(text))
        self.changes += 1

    def on_watch(self, name: str, value: str, on: bool, **event) -> None:
        self.step_now.watched[name] = value, on
        if name not in self.run.watches:
            self.run.watches.append(name)

    def add(self, mark: Mark) -> Mark:
        self.run.aliases.setdefault(mark.alias, "")
        if mark.process != self.last:
            self.changes += 1
            self.last = mark.process
        mark.run = self.changes
        for other in reversed(self.step_now.marks):
            if other.run != mark.run:
                break
            if other.like != mark.like or not mark.like:
                continue
            other.times += 1
            if other.lines != mark.lines:  # The value has changed.
                other.lines = other.lines[:1]
                other.words = other.words.rpartition(": ")[0]
            return other
        self.step_now.marks.append(mark)
        return mark

    def named(self, said: str, model: str) -> str:
        """Return the first text of a mark, with the model if there are several models."""
        return f"{said} {model.rpartition('.')[2]}" if self.several else said

    def on_write(self, alias: str, model: str, verb: str, process: int, **event) -> None:
        values = [event["value"]] if "value" in event else event.get("set", [])
        values += [f"{event['rows']:,} rows"] if "rows" in event else []
        by = event.get("by", "") if not self.step_now.text.startswith("$") else ""
        words = f"{alias}: {verb} of {model}" + (f": {', '.join(values)}" if values else "")
        words += f" (by {by})" if by else ""
        lines, like = [self.named(verb, model), *values[:SOME]], ("write", alias, verb, model)
        mark = self.add(Mark("write", alias, lines, words, process=process, like=like, by=by))
        self.written.add(alias)
        self.unseen.setdefault(alias, mark)

    def on_read(self, alias: str, model: str, process: int, answer: str = "", **event) -> None:
        lines = [self.named(answer, model)]
        words = f"{model} is read from {alias}: {answer}"
        if "stale" not in event:
            like = "read", alias, model, answer
            self.add(Mark("read", alias, lines, words, process=process, like=like))
            return
        now = event["stale"]
        words += f". This read is stale: {event['primary']} would answer {now}"
        like = "stale", alias, model, answer, now
        self.add(Mark("stale", alias, [*lines, "stale"], words, process=process, like=like))

    def on_refused(self, alias: str, model: str, process: int, error: str, **event) -> None:
        what = event.get("verb", "read")
        words = f"{alias} refuses the {what} of {model}: {error}"
        lines, like = [self.named(what, model), error], ("refused", alias, what, model)
        self.add(Mark("refused", alias, lines, words, process=process, like=like))

    def on_commit(self, alias: str, process: int, **event) -> None:
        self.add(Mark("commit", alias, ["COMMIT"], f"{alias}: COMMIT", process=process))

    def on_rollback(self, alias: str, process: int, **event) -> None:
        words = f"{alias}: what the transaction wrote is rolled back"
        self.add(Mark("rollback", alias, ["ROLLBACK"], words, process=process))
        self.written.discard(alias)

    def on_look(self, databases: dict[str, dict], **event) -> None:
        """Compare the contents of the databases: find arrivals, lost databases, and lag."""
        for alias, database in databases.items():
            before, now = self.held.get(alias), database["holds"]
            known, primary = alias in self.held, database["primary"] or ""
            self.held[alias] = now
            source = databases.get(primary, {}).get("holds")
            if known and before is not None and now is None:
                self.add(Mark("gone", alias, ["gone"], f"{alias} does not answer any more"))
                self.run.away.setdefault(alias, []).append([self.step_now.marks[-1], None])
                continue
            if now is not None:
                self.answers_again(alias)
            if databases.get(primary, {}).get("moving"):
                continue
            changed = known and now is not None and before != now and alias not in self.written
            if changed and (before is not None or alias in self.run.away):
                self.arrive(alias, primary, before, now, source)
            if not primary or source is None or now is None:
                continue
            spans = self.run.spans.setdefault(alias, [])
            behind = bool(spans) and spans[-1][1] is None
            if now != source and not behind:
                self.run.aliases.setdefault(primary, "")
                self.run.aliases[alias] = primary
                spans.append([self.unseen.get(primary), None])
            elif now == source and behind:
                marks = [mark for step in self.run.steps for mark in step.marks]
                spans[-1][1] = marks[-1] if marks else spans[-1][0]
        for primary in list(self.unseen):
            theirs = [at["holds"] for at in databases.values() if at["primary"] == primary]
            ours = databases.get(primary, {}).get("holds")
            if all(holds == ours for holds in theirs):
                del self.unseen[primary]
        self.written.clear()

    def answers_again(self, alias: str) -> None:
        """End the absence of a database at the first event there."""
        away = self.run.away.get(alias)
        if away and away[-1][1] is None:
            marks = [mark for step in self.run.steps for mark in step.marks]
            since = marks[marks.index(away[-1][0]) + 1 :]
            done = ("write", "read", "stale")
            away[-1][1] = next((m for m in since if m.alias == alias and m.kind in done), None)

    def arrive(self, alias: str, primary: str, before, now: dict, source: dict | None) -> None:
        """Record rows that no statement of Django wrote, for example rows that were replicated."""
        rows = [f"{held[0]:,} row{'s' * (held[0] != 1)}" for held in now.values() if held]
        rows = rows or ["no table"]
        if (away := self.run.away.get(alias)) and away[-1][1] is None:
            lines = ["back", *rows[:1]]
            away[-1][1] = self.add(Mark("change", alias, lines, f"{alias} is back: {rows[0]}"))
            return
        if primary and source is not None:
            same = now == source
            lines = ["up to date"] if same else ["still behind"]
            words = f"{alias} has what {primary} has" if same else f"{alias} is still behind"
            mark = Mark("arrival", alias, lines, words, source=primary)
            self.run.aliases.setdefault(primary, "")
            self.add(mark)
            self.run.aliases[alias] = primary
        else:
            self.add(Mark("change", alias, ["now", *rows[:1]], f"{alias} now holds {rows[0]}"))


def in_order(events: list[dict]) -> list[dict]:
    """Move each look before a step above that step: its changes belong to the step before."""
    events = list(events)
    for number in range(1, len(events)):
        if events[number].get("before") and events[number - 1]["kind"] == "step":
            events[number - 1 : number + 1] = events[number], events[number - 1]
    return events


def draw(run: Run, title: str) -> Picture:
    return Drawing(run, title).picture()


class Drawing:
    def __init__(self, run: Run, title: str):
        self.run, self.title = run, title
        shown = {mark.alias for step in run.steps for mark in step.marks} | run.spans.keys()
        shown |= {run.aliases.get(alias, "") for alias in shown}
        primaries = [alias for alias in run.aliases if not run.aliases[alias]]
        self.aliases = [
            alias
            for primary in sorted(primaries, key=lambda alias: (alias != "default", alias))
            for alias in [primary, *sorted(a for a, p in run.aliases.items() if p == primary)]
            if alias in shown
        ]
        self.parts: list[str] = []
        self.lanes()

    def lanes(self) -> None:
        """Return the position of each line: first the watched values, then the databases."""
        names = [*self.run.watches, *self.aliases]
        widths = {name: max(LANE, width_of(name) * 1.1 + 20) for name in names}
        for step in self.run.steps:
            for mark in step.marks:
                widest = max(width_of(line) for line in labels(mark))
                widths[mark.alias] = max(widths[mark.alias], widest + GAP + 14)
            for name, (value, _) in step.watched.items():
                widths[name] = max(widths[name], width_of(value) + GAP + 14)
        more = max(0, WIDTH - sum(widths.values())) / len(names)
        self.x, x = {}, 0.0
        for name in names:
            self.x[name], x = x + MARK + 6, x + widths[name] + more
        self.width = x

    def picture(self) -> Picture:
        y = self.heads()
        tops: list[tuple[float, float]] = []
        for step in self.run.steps:
            y = self.say(step.text, y)
            top = y
            for mark in step.marks:
                mark.y = y + LINE
                y += LINE * max(1.35, len(labels(mark)) + 0.35)
            if not step.marks:
                y += LINE * 1.35
            tops.append((top, y))
        self.parts.append(self.lifelines(tops))
        self.parts += [self.drawn(mark) for step in self.run.steps for mark in step.marks]
        y = self.legend(y + 8)
        body = f'<g font-family="{FONTS}" font-size="{SIZE}">{"".join(self.parts)}</g>'
        return Picture(self.title, describe(self.run), self.width, y, body)

    def heads(self) -> float:
        for name, x in self.x.items():
            watched = name in self.run.watches
            wide = width_of(name) * 1.1 + 12
            if not watched:
                self.parts.append(
                    f'<rect x="{x - 8:.1f}" y="2" width="{wide:.1f}" height="20" rx="5"'
                    ' fill-opacity="0.1"/>'
                )
            style = ' font-style="italic"' if watched else ' font-weight="bold"'
            self.parts.append(text(x - 2, 16, name, style))
        return 26

    def say(self, code: str, y: float) -> float:
        """Draw a step's statement or command, on a band that interrupts the lines."""
        lines = wrapped(code.strip(), int((self.width - 10) / CODE_LETTER))
        high = LINE * len(lines) + 5
        self.parts.append(
            f'<rect y="{y + 3:.1f}" width="{self.width:.1f}" height="{high}" fill-opacity="0.06"/>'
        )
        style = f' style="font-family: {CODE}" xml:space="preserve"'
        for number, shown in enumerate(lines):
            self.parts.append(text(5, y + 16 + number * LINE, shown, style))
        return y + high + 3

    def lifelines(self, tops: list[tuple[float, float]]) -> str:
        found = []
        for alias in self.aliases:
            for top, bottom in tops:
                cuts = {top, bottom}
                for spans in (self.run.spans, self.run.away):
                    for start, end in spans.get(alias, []):
                        cuts |= {m.y for m in (start, end) if m and top < m.y < bottom}
                points = sorted(cuts)
                for a, b in zip(points, points[1:], strict=False):
                    middle = (a + b) / 2
                    if within(self.run.away.get(alias, []), middle):
                        continue
                    behind = within(self.run.spans.get(alias, []), middle)
                    style = ' stroke-dasharray="3 4"' if behind else ""
                    found.append(
                        line(self.x[alias], a, self.x[alias], b, f'stroke-width="1.5"{style}')
                    )
        for name in self.run.watches:
            found += self.watched(name, tops)
        return "".join(found)

    def watched(self, name: str, tops: list[tuple[float, float]]) -> Iterator[str]:
        """Draw a bar while the value is true, and the value at each change."""
        before, x = None, self.x[name]
        for step, (top, bottom) in zip(self.run.steps, tops, strict=True):
            now = step.watched.get(name, before)
            if now and now[1]:
                yield line(x, top, x, bottom, 'stroke-width="7" stroke-opacity="0.35"')
            elif now:
                yield line(x, top, x, bottom, 'stroke-width="1" stroke-opacity="0.5"')
            if now and now != before:
                yield text(x + GAP, top + LINE, now[0])
            before = now

    def drawn(self, mark: Mark) -> str:
        x, y = self.x[mark.alias], mark.y - 4
        said = "".join(
            text(
                x + GAP,
                mark.y + number * LINE,
                label,
                ' font-weight="bold"' if label == "stale" else "",
            )
            for number, label in enumerate(labels(mark))
        )
        arrow = ""
        if mark.kind == "arrival":
            start = self.x[mark.source]
            step = MARK + 2 if start < x else -MARK - 2
            arrow = line(start, y, x - step, y, 'stroke-width="2"') + path(
                f"M{x - step - 5 * step / 7:.1f} {y - 4:.1f}L{x - step:.1f} {y:.1f}"
                f"L{x - step - 5 * step / 7:.1f} {y + 4:.1f}"
            )
        drawn = shape("command" if mark.by else mark.kind, x, y)
        return f'<g class="{mark.kind}">{arrow}{drawn}{said}</g>'

    def legend(self, y: float) -> float:
        """Draw the legend of the marks in this picture."""
        kinds = {mark.kind for step in self.run.steps for mark in step.marks}
        words = {
            "write": "written",
            "read": "read, and its answer",
            "stale": "stale read: the primary differs",
            "arrival": "replicated",
            "refused": "refused",
            "commit": "committed",
            "gone": "does not answer",
            "change": "changed outside Django",
        }
        entries = [(kind, said) for kind, said in words.items() if kind in kinds]
        commands = sorted({m.by for step in self.run.steps for m in step.marks if m.by})
        entries += [("command", f"written by {command}") for command in commands]
        if any(self.run.spans.values()):
            entries.append(("behind", "behind its primary"))
        x = 0.0
        for kind, said in entries:
            wide = width_of(said) + 30
            if x and x + wide > self.width + 10:
                x, y = 0, y + 18
            at = x + MARK + 3
            if kind == "behind":
                drawn = line(at, y + 4, at, y + 20, 'stroke-width="1.5" stroke-dasharray="3 4"')
            elif kind == "arrival":
                drawn = line(at - 6, y + 12, at + 6, y + 12, 'stroke-width="2"') + path(
                    f"M{at + 1:.1f} {y + 8:.1f}L{at + 6:.1f} {y + 12:.1f}L{at + 1:.1f} {y + 16:.1f}"
                )
            else:
                drawn = shape(kind, at, y + 12)
            looks = "write" if kind == "command" else kind
            self.parts.append(f'<g class="{looks}">{drawn}</g>{text(at + 11, y + 16, said)}')
            x += wide
        return y + 24


def shape(kind: str, x: float, y: float) -> str:
    """Return a mark. Each kind has another shape."""
    empty = 'style="fill: var(--page, Canvas)" stroke="currentColor" stroke-width="1.8"'
    if kind == "read":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{MARK - 0.5}" {empty}/>'
    if kind == "stale":
        points = f"M{x:.1f} {y - 6.5:.1f}l6.5 6.5l-6.5 6.5l-6.5 -6.5Z"
        return f'<path d="{points}" {empty}/>'
    if kind in ("refused", "gone", "rollback"):
        return path(f"M{x - 4.5:.1f} {y - 4.5:.1f}l9 9m-9 0l9 -9")
    if kind == "commit":
        return path(f"M{x - 5:.1f} {y:.1f}l4 4l7 -9")
    if kind == "command":
        return f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"/>'
    if kind == "change":
        return (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{MARK + 1.5}" {empty}/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{MARK - 2}"/>'
        )
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{MARK}"/>'


def path(points: str) -> str:
    return f'<path d="{points}" fill="none" stroke="currentColor" stroke-width="2"/>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    at = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {at} stroke="currentColor" {style}/>'


def text(x: float, y: float, said: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{style}>{escape(said)}</text>'


def labels(mark: Mark) -> list[str]:
    first, *rest = mark.lines
    if mark.times == 1:
        return mark.lines
    often = f"× {mark.times}"
    return [f"{first} {often}", *rest] if len(first) < BROAD else [first, often, *rest]


def wrapped(code: str, room: int) -> list[str]:
    """Return a statement's first line, as two lines of so many letters. "…" marks a cut."""
    first, *more = code.split("\n")
    first += " …" if more else ""
    if len(first) <= room:
        return [first]
    *_, end = [0, *(m.end() for m in re.finditer(r"[ ,]+|(?=\.\w)", first[: room + 1]))]
    end = end if end > room / 2 else room
    second = f"    {first[end:]}"
    return [first[:end].rstrip(), second if len(second) <= room else f"{second[: room - 2]} …"]


def width_of(said: str) -> float:
    return sum(CAPITAL if letter.isupper() else LETTER for letter in said)


def within(spans: list[list[Mark | None]], y: float) -> bool:
    return any(
        (start is None or start.y <= y) and (end is None or y < end.y) for start, end in spans
    )


def describe(run: Run) -> str:
    """Return the picture as text: each step, and what it did."""
    before: dict[str, tuple[str, bool]] = {}
    sentences = []
    for number, step in enumerate(run.steps, 1):
        said = [
            mark.words + (f" ({mark.times} times)" if mark.times > 1 else "") for mark in step.marks
        ]
        for name, value in step.watched.items():
            if before.get(name) != value:
                said.append(f"{name} is {value[0]}")
            before[name] = value
        code = " ".join(step.text.split("\n")[0].split())
        sentences.append(f"{number}. {code}: {'; '.join(said) or 'nothing'}.")
    return " ".join(sentences)


def draw_timelines(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for place in list(doctree.findall(timeline)):
        place.replace_self(drawn_for(app, place))


def drawn_for(app: Sphinx, place: timeline) -> nodes.Node:
    page = place["page"]
    runs = app.config.livedocs_record.get(page.relative_to(ROOT).as_posix(), {}).values()
    mine = next((t for t in timelines_of(page.read_text()) if t.line == place["line"]), None)
    if not runs or mine is None:
        return nodes.paragraph("", WITHOUT_RUN, classes=["livedocs-limits"])
    first = min(runs, key=lambda run: ENGINES.index(run["engine"]))
    blocks = [b for b in first["blocks"].values() if mine.first < b["line"] < mine.line]
    blocks.sort(key=lambda block: block["line"])
    events = [event for block in blocks for event in block.get("events", [])]
    labels = [".".join(model.split(".")[:2]) for model in mine.models]
    for wrong in what_is_wrong(labels, mine, events):
        logger.warning(".. timeline:: %s", wrong, location=place["place"], type="pictures")
    events = [e for e in events if e.get("model", labels[0]).lower() in map(str.lower, labels)]
    events = [event for event in events if event["kind"] != "unknown"]
    run = Reader(several=len(labels) > 1).of(events)
    while run.steps and place["from"] not in run.steps[0].text:
        del run.steps[0]
    if not run.steps:
        wrong = f"no step that reads or writes has the text {place['from']}"
        logger.warning(".. timeline:: %s", wrong, location=place["place"], type="pictures")
        return nodes.paragraph("", WITHOUT_RUN, classes=["livedocs-limits"])
    picture = draw(run, f"What happened, and when, to {' and '.join(labels)}")
    shown = framed(picture, place["name"], "timeline")
    shown["ids"].append(place["name"])  # Sphinx links to a figure with a caption.
    if place.children:
        shown += nodes.caption("", "", *place.children[0].children)
    return shown


def what_is_wrong(labels: list[str], mine, events: list[dict]) -> Iterator[str]:
    unknown = sorted({event["model"] for event in events if event["kind"] == "unknown"})
    for name in unknown:
        yield f"the project has no model or field {name}"
    touched = {event.get("model", "").lower() for event in events if "verb" in event}
    touched |= {event.get("model", "").lower() for event in events if event["kind"] == "read"}
    for model, label in zip(mine.models, labels, strict=True):
        if label.lower() not in touched and model not in unknown:
            yield (
                f"no statement of lines {mine.first} to {mine.line} reads or writes {label}: it "
                "draws the blocks between the heading above and itself"
            )
