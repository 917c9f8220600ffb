"""The path of questions is drawn with each step, and has the same as text."""

import re
from io import StringIO
from xml.etree import ElementTree

import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

SVG = "{http://www.w3.org/2000/svg}"
PATH = """
.. decisions:: One, or more?

   Is it a <slow> query? An index

   Is it too much for a machine? Sharding
   One will do.
"""


@pytest.fixture
def build(tmp_path):
    """Build a page with that text and builder. Return the warnings and the page."""

    def build(text, builder="html"):
        docs, out, warnings = tmp_path / "docs", tmp_path / builder, StringIO()
        docs.mkdir()
        (docs / "index.rst").write_text(f"Title\n=====\n{text}")
        conf = {"extensions": ["pictures"], "html_theme": "basic"}
        with docutils_namespace():
            Sphinx(docs, None, out, out, builder, conf, None, warnings).build()
        return warnings.getvalue(), next(out.glob("index.[ht]*")).read_text()

    return build


def test_a_path_is_drawn_and_said(build):
    warnings, html = build(PATH)
    svg = ElementTree.fromstring(re.search("<svg.*?</svg>", html, re.DOTALL)[0])
    assert warnings == ""
    assert svg.findtext(f"{SVG}title") == "One, or more?"
    assert svg.findtext(f"{SVG}desc") == (
        "Is it a <slow> query? If so: An index. "
        "Is it too much for a machine? If so: Sharding. If all answers are no: One will do."
    )
    letters = " ".join(text.text.strip() for text in svg.iter(f"{SVG}text"))
    for part in ("Is it a <slow> query?", "An index", "Sharding", "One will do."):
        assert part in letters
    assert (letters.count("yes"), letters.count("no")) == (2, 2)


def test_letters_are_of_full_size_on_a_phone(build):
    _, html = build(PATH.replace("too much for a machine", "more than " + "very " * 9 + "much"))
    assert float(re.search(r'<svg [^>]*width="([\d.]+)em"', html)[1]) <= (390 - 32) / 16


def test_a_builder_without_drawings_has_the_words(build):
    warnings, text = build(PATH, "text")
    assert warnings == "" and "Is it a <slow> query? If so: An index." in " ".join(text.split())


def test_a_step_that_asks_nothing_is_said(build):
    warnings, _ = build(PATH.replace("query?", "query:"))
    assert (
        "index.rst:4: ERROR: a step is a line with a question? and what to do, and this is not"
        in warnings
    )
