"""The box at the top of a page, and how many words a page has."""

import re

import pytest

BOX = """
.. glance::
   :what: Reads go
      to *copies*.
   :cost: A copy is late.

"""


@pytest.fixture
def build(house):
    return lambda text: house.build_page(text, "livedocs.site", "theme.glance")


def test_it_says_what_its_page_says_and_how_long_the_page_takes(build):
    words = "word " * 600
    other = ".. engine:: SQLite\n\n   one\n\n.. engine:: PostgreSQL\n\n   " + "two " * 2000
    status, warnings, html = build(f"{BOX}{words}\n\n{other}")
    assert (status, warnings) == (0, "")
    box = re.sub(r"<(?!em|/em)[^>]+>", " ", html.partition('glance">')[2].partition("</dl>")[0])
    said = "What Reads go to <em>copies</em>. Cost A copy is late. Time to read 3 minutes"
    assert box.split() == said.split()


def test_a_page_of_too_many_words_is_a_warning(build):
    _, warnings, _ = build(BOX + "word " * 3600)
    assert re.search(r"3,500 words at most, and this page has 3,6\d\d: split it into two", warnings)


def test_a_box_without_its_first_line_is_an_error(build):
    _, warnings, _ = build(".. glance::\n   :cost: Much.\n".join("\n\n"))
    assert "a glance needs :what:, which tells what the page is about" in warnings
