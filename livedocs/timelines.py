"""Finds the blocks that each timeline of a page draws.

``.. timeline:: reviews.Review`` draws the blocks between itself and the heading or the timeline
above. While these blocks run, `livedocs.traced` records their events, which ``pictures.timeline``
draws.
"""

import re
from dataclasses import dataclass, field

TIMELINE = re.compile(
    r"^( *)\.\. timeline:: *(.*)\n((?:\1 +:[\w-]+:.*\n(?:\1 {4,}.*\n)*)*)", re.MULTILINE
)
HEADING = re.compile(r"^(?! |\.\. ).+\n([^\w\s])\1{2,}$", re.MULTILINE)
WATCH = re.compile(r"^ *:watch: *(.*\n(?: {4,}(?! *:).*\n)*)", re.MULTILINE)
NAMED = re.compile(r"^ *(\w[\w' ]*?) *= *(.+?) *$", re.MULTILINE)


@dataclass(frozen=True)
class Timeline:
    """The blocks after the line ``first`` and before ``line``, the timeline's own line."""

    line: int
    first: int
    #: "reviews.Review", or with the field whose values are shown, "reviews.Review.text".
    models: tuple[str, ...]
    #: Python expressions to evaluate in the page, by their names in the picture.
    watch: dict[str, str] = field(default_factory=dict)
    #: Whether to record only writes.
    writes: bool = False
    #: Whether to record the commits of transactions, too.
    commits: bool = False


def timelines_of(text: str) -> list[Timeline]:
    starts = [match.start() for match in HEADING.finditer(text)]
    found = []
    for match in TIMELINE.finditer(text):
        before = [0, *(start for start in starts if start < match.start())]
        found.append(
            Timeline(
                line=line_of(text, match.start()),
                first=max(line_of(text, before[-1]), found[-1].line if found else 0),
                models=tuple(match[2].split()),
                watch=watch_of(match[3]),
                writes=":writes:" in match[3],
                commits=":commits:" in match[3],
            )
        )
    return found


def watch_of(options: str) -> dict[str, str]:
    watch = WATCH.search(options)
    return dict(NAMED.findall(watch[1])) if watch else {}


def line_of(text: str, start: int) -> int:
    return text.count("\n", 0, start) + 1


def wanted(timelines: list[Timeline], line: int) -> dict | None:
    """Return what to record while the block on that line runs, or None for no timeline."""
    ours = [timeline for timeline in timelines if timeline.first < line < timeline.line]
    return ours[0].__dict__ | {"models": list(ours[0].models)} if ours else None
