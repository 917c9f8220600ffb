"""All pages have a box at the top, and different headings."""

import re
from collections import defaultdict
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.rglob("*.rst"))
#: Pages without one subject: they lead to other pages, or are lists.
WITHOUT_BOX = {"404", "index", "glossary", "verified"}
HEADING = re.compile(r"(?<=\n)(?P<title>\S.*)\n(?P<line>[=\-~^])(?P=line)+\n")


def headings_of(page):
    """Return the titles of a page and its sections, without titles in captioned files."""
    text = f"\n{page.read_text()}"
    return [found["title"] for found in HEADING.finditer(text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_a_page_begins_with_a_box(page):
    first, *_ = HEADING.finditer(f"\n{page.read_text()}")
    below = f"\n{page.read_text()}"[first.end() :].lstrip("\n")
    assert below.startswith(".. glance::\n   :what: ") == (page.stem not in WITHOUT_BOX)


def test_no_heading_stands_twice_on_the_site():
    pages = defaultdict(list)
    for page in PAGES:
        for title in headings_of(page):
            pages[title].append(page.relative_to(DOCS).as_posix())
    assert len(pages) > 200
    assert {title: names for title, names in pages.items() if len(names) > 1} == {}
