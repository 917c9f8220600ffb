"""Which blocks of a page each of its timelines draws.

``.. timeline:: reviews.Review`` draws what the blocks above it did: those since the heading, or
since another timeline. ``pictures.timeline`` draws it; while these blocks run, `livedocs.traced`
notes what they do.
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
    """The blocks after line ``first``, and before ``line``, where the timeline stands."""

    line: int
    first: int
    #: "reviews.Review", or with the field whose values are shown, "reviews.Review.text".
    models: tuple[str, ...]
    #: Expressions of the page's Python, by the names that the picture gives their values.
    watch: dict[str, str] = field(default_factory=dict)
    #: Whether only what writes is noted.
    writes: bool = False


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
            )
        )
    return found


def watch_of(options: str) -> dict[str, str]:
    watch = WATCH.search(options)
    return dict(NAMED.findall(watch[1])) if watch else {}


def line_of(text: str, start: int) -> int:
    return text.count("\n", 0, start) + 1


def wanted(timelines: list[Timeline], line: int) -> dict | None:
    """What is noted while the block on that line runs; None where no timeline draws it."""
    ours = [timeline for timeline in timelines if timeline.first < line < timeline.line]
    return ours[0].__dict__ | {"models": list(ours[0].models)} if ours else None
