"""No link within the built site and the deck is broken, including its anchor."""

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

SITE = Path(__file__).parents[2] / "_build" / "site"
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))


class Reader(HTMLParser):
    """Collects a page's anchors and references."""

    def __init__(self, path: Path):
        super().__init__()
        self.anchors, self.references = {""}, set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors |= {attributes[name] for name in ("id", "name") if name in attributes}
        self.references |= {attributes[name] for name in ("href", "src") if attributes.get(name)}


@cache
def read(path: Path) -> Reader:
    return Reader(path)


@cache
def start() -> str:
    """Return the path for which the site was built: ``/`` or ``/en/latest/``."""
    return re.search('href="(/.*?)_static/', (SITE / "404.html").read_text())[1]


def test_there_is_a_site():
    assert "index.html" in PAGES and "slides/index.html" in PAGES, "make site builds it"


@pytest.mark.parametrize("page", PAGES)
def test_links(page):
    wrong = []
    for reference in read(SITE / page).references:
        address, anchor = urldefrag(reference)
        if urlsplit(address).scheme:
            continue
        path = unquote(urlsplit(address).path)
        # The 404 page is served at any address, so its links begin at the top of the site.
        prefix = start() if page == "404.html" else ""
        folder = SITE if prefix else (SITE / page).parent
        target = folder / path.removeprefix(prefix) if path else SITE / page
        leads_there = target.is_file() and (
            target.suffix != ".html" or unquote(anchor) in read(target).anchors
        )
        if not leads_there:
            wrong.append(reference)
    assert not wrong
