"""The page about djanquiltdb shows the files of its benchmark, which Sybil cannot run here."""

from pathlib import Path
from textwrap import indent

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/beyond/djanquiltdb.rst").read_text()


@pytest.mark.parametrize(
    ("file", "first", "last"),
    [
        ("settings.py", "import os", "}\nINSTALLED_APPS"),
        ("customers/models.py", "from uuid import uuid7", 'product_id}"'),
    ],
)
def test_the_page_shows_the_file(file, first, last):
    text = (ROOT / "benchmarks/peer_shop" / file).read_text()
    shown = text[text.index(first) : text.index(last) + 1].rstrip()
    assert indent(shown, "   ") in PAGE
