"""Which parts of a page run on which engine: the page's first lines, and its tabs.

``:engines: sqlite: why`` in a page's first lines names the engines that the page runs on, and the
reason. ``.. engine:: PostgreSQL and MariaDB`` is a tab, whose blocks run only on these two engines.
Tabs that follow each other are a group, of which the reader sees one tab at a time.
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
    "a page with a standby server names the standby's aliases in its first lines: "
    "`:standby: replica1`"
)
WRONG_LIMITS = (
    "a page that can't run on every engine names its engines in its first lines, and gives the "
    f"reader the reason: `:engines: sqlite: why`. The engines are {', '.join(ENGINES)}"
)


def of_tab(names: str) -> list[str]:
    """Return the engines that a tab's name lists, or [] if it lists anything else."""
    named = re.split(", | and ", names.strip())
    return [NAMES[name] for name in named] if NAMES.keys() >= set(named) else []


def of_page(text: str) -> tuple[list[str], str]:
    """Return the engines that a page runs on, and the reason if these are not all engines."""
    limits = LIMITS.match(text)
    engines = re.split(", *", limits["engines"].strip()) if limits else []
    if limits and set(engines) <= set(ENGINES):
        return engines, " ".join(limits["why"].split())
    return list(ENGINES), ""


def standbys_of(text: str) -> list[str]:
    """Return the aliases that a page's first lines name as those of a standby server."""
    named = STANDBYS.match(text)
    return re.split(", *", named["aliases"]) if named else []


def with_mixed(tabs: list[tuple[list[str], bool]]) -> list[list[str]]:
    """Return the engines of each tab of a group.

    "mixed" is added to the tabs with ``:mixed:``, or if there are none, to the tab for SQLite.
    """
    said = any(mixed for _, mixed in tabs)
    return [
        [*engines, "mixed"] if (mixed if said else "sqlite" in engines) else engines
        for engines, mixed in tabs
    ]


def text_for(text: str, engine: str) -> str:
    """Replace the tabs of other engines by spaces, so that the line numbers stay the same."""
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
