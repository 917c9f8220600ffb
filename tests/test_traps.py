"""The entries of traps, and the tables of all entries, which are made from them."""

import re
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[1] / "docs" / "traps").glob("*.rst"))

ENTRIES = """
.. _trap-locked:

``database is locked``
----------------------

.. trap::
   :fix: Set ``timeout``.
   :on: SQLite
   :tickets: 29280, 29062

.. _trap-stale:

An old row
----------

.. trap::
   :fix: Read from the primary.
   :silent:

Tables
------

.. traps:: silent

.. traps:: index
"""


@pytest.fixture
def build(house):
    return lambda text: house.build_page(text, "livedocs.site", "theme.traps")


def text_of(html):
    return " ".join(re.sub("<[^>]+>", " ", html).split())


def test_a_table_has_the_message_and_the_fix_of_each_entry(build):
    status, warnings, html = build(ENTRIES)
    assert (status, warnings) == (0, "")
    silent, others = (text_of(table) for table in re.findall("<table.*?</table>", html, re.S))
    assert silent == "Message or symptom Do this now An old row Read from the primary."
    assert others.split(" now ")[1] == "database is locked (on SQLite) Set timeout ."
    assert re.findall('class="reference internal" href="([^"]*#trap[^"]*)"', html) == [
        "#trap-stale",
        "#trap-locked",
    ]


def test_an_entry_begins_with_its_fix_and_its_tickets(build):
    _, _, html = build(ENTRIES)
    locked, stale = (text_of(box) for box in re.findall('<p class="trap">.*?</p>', html))
    assert locked == "On SQLite. Fix: Set timeout . Ticket 29280 . Ticket 29062 ."
    assert stale == "No error, wrong data. Fix: Read from the primary."
    assert 'href="https://code.djangoproject.com/ticket/29280"' in html


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    {
        "without a fix": ("   :fix: Set ``timeout``.\n", "", "a trap needs :fix:"),
        "a link": ("``timeout``", "`it <https://example.org>`__", "it has no links"),
        "no label": ("_trap-locked", "_locked", "a trap needs a label that begins with trap-"),
        "another page": ("traps:: index", "traps:: nowhere", "there are no traps to list: nowhere"),
    }.values(),
)
def test_a_wrong_entry_is_named(build, old, new, problem):
    assert old in ENTRIES
    _, warnings, _ = build(ENTRIES.replace(old, new))
    assert problem in warnings


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_section_of_a_page_is_an_entry_with_a_stable_address(page):
    sections = re.split(r"\n(.+)\n-{4,}\n", page.read_text())
    titles, bodies = sections[1::2], sections[2::2]
    assert titles
    for title, before, body in zip(titles, sections[0::2], bodies, strict=False):
        assert body.startswith("\n.. trap::\n"), title
        assert re.search(r"\n\.\. _trap-[a-z0-9-]+:\n$", before), title
