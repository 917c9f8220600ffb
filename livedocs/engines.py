"""What of a page is for which engine: a page that says so at its top, and tabs.

``:engines: sqlite: why`` in a page's first lines names the engines that the page runs on, and why
no other. ``.. engine:: PostgreSQL and MariaDB`` is a tab, whose blocks run on these two alone; tabs
that follow each other are a group, of which the reader sees one.
"""

import re

from livedocs.servers import ENGINES

NAMES = {"SQLite": "sqlite", "PostgreSQL": "postgresql", "MariaDB": "mariadb"}
TAB = re.compile(
    r"^( *)\.\. engine:: *(.*)\n((?:\1 +:[\w-]+:.*\n)*)((?:\1 .*\n| *\n)*)", re.MULTILINE
)
LIMITS = re.compile(
    r"(?:^:.*\n(?: .*\n)*)*?^(?P<line>:engines:) *(?P<engines>[\w, ]+): *(?P<why>\S.*(?:\n .*)*)",
    re.MULTILINE,
)
STANDBYS = re.compile(
    r"(?:^:.*\n(?: .*\n)*)*?^(?P<line>:standby:) *(?P<aliases>\w+(?:, *\w+)*) *$", re.MULTILINE
)
WRONG_STANDBYS = (
    "a page with a standby says in its first lines which of its aliases are the standby's: "
    "`:standby: replica1`"
)
WRONG_LIMITS = (
    "a page that some engines can't run says in its first lines which can, and why, which the "
    f"reader sees: `:engines: sqlite: why`, of {', '.join(ENGINES)}"
)


def of_tab(names: str) -> list[str]:
    """The engines that a tab's name names; none when it is no such name."""
    named = re.split(", | and ", names.strip())
    return [NAMES[name] for name in named] if NAMES.keys() >= set(named) else []


def of_page(text: str) -> tuple[list[str], str]:
    """The engines that a page says it runs on, and its reason why no other; else all."""
    limits = LIMITS.match(text)
    engines = re.split(", *", limits["engines"].strip()) if limits else []
    if limits and set(engines) <= set(ENGINES):
        return engines, " ".join(limits["why"].split())
    return list(ENGINES), ""


def standbys_of(text: str) -> list[str]:
    """The aliases that a page says are a standby's."""
    named = STANDBYS.match(text)
    return re.split(", *", named["aliases"]) if named else []


def with_mixed(tabs: list[tuple[list[str], bool]]) -> list[list[str]]:
    """The engines of each tab of a group, "mixed" among them: the one that says so, or SQLite's."""
    said = any(mixed for _, mixed in tabs)
    return [
        [*engines, "mixed"] if (mixed if said else "sqlite" in engines) else engines
        for engines, mixed in tabs
    ]


def text_for(text: str, engine: str) -> str:
    """A page's text with spaces for the tabs of other engines, so that its lines stay."""
    groups, end = [], -1
    for tab in TAB.finditer(text):
        groups += [[]] if tab.start() != end else []
        groups[-1].append(tab)
        end = tab.end()
    for group in groups:
        engines = with_mixed([(of_tab(tab[2]), ":mixed:" in tab[3]) for tab in group])
        for tab, on in zip(group, engines, strict=True):
            if engine not in on:
                text = text[: tab.start(4)] + blank(tab[4]) + text[tab.end(4) :]
    return text


def blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)
