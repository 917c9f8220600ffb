"""The ``hint-matrix`` directive shows which router method each call asks, for each Django release.

``hints/record.py`` recorded the answers into ``hints/django-5.2.json`` and its siblings, one for
each release. ``make hints`` records them again. This module only reads these files.
"""

import json
import re
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

HERE = Path(__file__).parent / "hints"
#: In place of a list of questions: the release has no such call.
MISSING = None
#: A place between the signs of code where a line may end.
BREAKS = re.compile(r"(?<=[\[{=/])(?=[^ =])")
HEADS, WIDTHS = ("Call", "Questions to the router"), (45, 55)


@dataclass
class Row:
    """A call, and what each release asks for it: ``{"5.2": ["db_for_read(Book) × 2"]}``."""

    call: str
    note: str
    asked: dict[str, list[str] | None] = field(default_factory=dict)

    @property
    def differs(self) -> bool:
        return len({str(questions) for questions in self.asked.values()}) > 1


def recorded() -> dict[str, dict]:
    """Return what was recorded, by release: 5.2 is before 6.0."""
    files = HERE.glob("django-*.json")
    found = {file.stem.partition("-")[2]: json.loads(file.read_text()) for file in files}
    return dict(sorted(found.items(), key=lambda item: [int(part) for part in item[0].split(".")]))


def matrix() -> dict[str, list[Row]]:
    """Return the rows of each group. An asynchronous form that asks otherwise has its own row."""
    releases = recorded()
    groups: dict[str, dict[tuple, Row]] = {}
    for release, data in releases.items():
        for group, calls in data["groups"].items():
            rows = groups.setdefault(group, {})
            for call in calls:
                forms = {call["call"]: call["asked"]}
                if "async_asked" in call:
                    forms[call["async"]] = call["async_asked"]
                for code, asked in forms.items():
                    row = rows.setdefault((code, call["note"]), Row(code, call["note"]))
                    row.asked[release] = [written(*question) for question in asked.items()]
    for rows in groups.values():
        for row in rows.values():
            row.asked = {release: row.asked.get(release, MISSING) for release in releases}
    return {group: list(rows.values()) for group, rows in groups.items()}


def written(question: str, times: int) -> str:
    return question if times == 1 else f"{question} × {times}"


def alike(rows: list[Row]) -> list[list[Row]]:
    """Return the rows in lists: the calls of a list ask the same."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(str(row.asked), []).append(row)
    return list(found.values())


def in_words(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


class HintMatrix(SphinxDirective):
    """``.. hint-matrix:: reading`` is the table of a group. Calls that ask the same are a row.

    ``.. hint-matrix:: differences`` is the table of all calls for which the releases differ.
    """

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        note_files(self)
        groups, name = matrix(), self.arguments[0]
        if name == "differences":
            rows = [row for rows in groups.values() for row in rows if row.differs]
        elif name in groups:
            rows = groups[name]
        else:
            raise self.error(f"no such group: write differences, or one of {in_words([*groups])}")
        table = nodes.table(classes=["data", "hints"])
        columns = nodes.tgroup(cols=len(HEADS))
        columns += [nodes.colspec(colwidth=width) for width in WIDTHS]
        head = nodes.row("", *(entry(nodes.paragraph("", text)) for text in HEADS))
        body = nodes.tbody("", *(self.row(same) for same in alike(rows)))
        columns += [nodes.thead("", head), body]
        table += columns
        return [table]

    def row(self, rows: list[Row]) -> nodes.row:
        calls = [self.call(row) for row in rows]
        said = nodes.row("", entry(*calls), entry(*answers(rows[0])))
        if rows[0].differs:
            said["classes"].append("differs")
        return said

    def call(self, row: Row) -> nodes.paragraph:
        note, messages = self.parse_inline(f" ({row.note})" if row.note else "")
        return nodes.paragraph("", "", code(row.call), *note, *messages)


class HintSummary(SphinxDirective):
    """``.. hint-summary::`` says how many calls were recorded, and with which versions."""

    def run(self) -> list[nodes.Node]:
        note_files(self)
        releases = recorded()
        calls = [call for group in [*releases.values()][-1]["groups"].values() for call in group]
        versions = in_words([data["django"] for data in releases.values()])
        forms = [call for call in calls if "async" in call]
        others = [call for call in forms if "async_asked" in call]
        said = (
            f"The matrix has {len(calls)} calls, recorded with Django {versions} on SQLite. "
            f"{len(forms)} of the calls have an asynchronous form, which was recorded too. "
            f"{len(forms) - len(others)} of these forms ask the same questions."
        )
        return [nodes.paragraph("", said, classes=["hints"])]


def answers(row: Row) -> list[nodes.paragraph]:
    """Return the questions. If the releases differ, each list begins with its releases."""
    if not row.differs:
        return questions(next(iter(row.asked.values())))
    releases: dict[str, list[str]] = {}
    for release, asked in row.asked.items():
        releases.setdefault(str(asked), []).append(release)
    found = []
    for same in releases.values():
        found.append(nodes.paragraph("", "", nodes.strong("", f"Django {in_words(same)}:")))
        found += questions(row.asked[same[0]])
    return found


def questions(asked: list[str] | None) -> list[nodes.paragraph]:
    if asked is MISSING:
        return [nodes.paragraph("", "has no such call")]
    lines = []
    for question in asked or ["none"]:
        text, times, number = question.partition(" × ")
        known = [nodes.Text(text)] if question == "none" else [code(text)]
        lines.append(nodes.paragraph("", "", *known, nodes.Text(times + number)))
    return lines


def code(text: str) -> nodes.literal:
    """Return the code. A browser may begin a new line where a name or a string begins."""
    parts = [nodes.Text(part) for part in BREAKS.split(text)]
    breaks = [nodes.raw("", "<wbr/>", format="html") for _ in parts[1:]]
    return nodes.literal(
        text, "", parts[0], *chain.from_iterable(zip(breaks, parts[1:], strict=True))
    )


def entry(*content: nodes.Node) -> nodes.entry:
    return nodes.entry("", *content)


def note_files(directive: SphinxDirective) -> None:
    """The page is read again when this code, or a recorded file, changes."""
    for file in [Path(__file__), *sorted(HERE.glob("django-*.json"))]:
        directive.env.note_dependency(str(file))
