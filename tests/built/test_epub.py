"""The book that make epub builds is well-formed, and has no broken links."""

from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit
from xml.etree import ElementTree
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
DOCS = {
    path.relative_to(ROOT / "docs").with_suffix(".xhtml").as_posix()
    for path in (ROOT / "docs").rglob("*.rst")
    if path.name != "404.rst"
}
ON_THE_SITE = {"slides/index.html", "verified.json"}


@pytest.fixture(scope="module")
def pages():
    books = list((ROOT / "_build" / "epub").glob("*.epub"))
    if not books:
        pytest.skip("there is no book to look at: make epub builds it")
    with ZipFile(books[0]) as book:
        return {
            name: ElementTree.fromstring(book.read(name))
            for name in book.namelist()
            if name.endswith(".xhtml")
        }


def test_the_book_has_each_page(pages):
    assert set(pages) >= DOCS and "404.xhtml" not in pages


def test_links_in_the_book(pages):
    anchors = {
        name: {node.get("id") for node in page.iter() if node.get("id")}
        for name, page in pages.items()
    }
    wrong = []
    for name, page in pages.items():
        for node in page.iter("{http://www.w3.org/1999/xhtml}a"):
            address, anchor = urldefrag(node.get("href", ""))
            if urlsplit(address).scheme or address in ON_THE_SITE:
                continue
            target = (Path("/") / name).parent / unquote(address) if address else Path("/") / name
            target = target.resolve().relative_to("/").as_posix()
            if target not in pages or (anchor and unquote(anchor) not in anchors[target]):
                wrong.append((name, node.get("href")))
    assert not wrong
