"""The words of the pages, the slides, the READMEs and the code: those that prose.toml names."""

import subprocess
from pathlib import Path

import pytest
from prose import RULES, of_page, problems

THIS = Path(__file__)
ROOT = THIS.parents[1]


def files(*suffixes):
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    return [name for name in listed if name.endswith(suffixes)]


@pytest.mark.parametrize("name", files(".rst"))
def test_a_page_is_in_plain_words(name):
    assert problems(ROOT / name) == []


def test_messages_and_comments_are_in_plain_words():
    code = [ROOT / name for name in files(".py")]
    found = [problem for path in code if path != THIS for problem in problems(path)]
    assert found == []


PAGE = """\
:engines: sqlite: a reason, which is read

A title
=======

.. glance::
   :what: The first of what is counted.

A replica is
away. The next paragraph ends with a colon, which leads to a block:

.. code-block:: python

   it = its  # just code

>>> it
It

* - ``it`` is an identifier, :term:`one <replica>` is seen.

.. A comment, simply.

That is all::

   it, which is code
"""


def test_what_is_prose():
    text = of_page(PAGE)
    assert text.find(r"\bits?\b") == []
    assert text.find(r"\bone\b") == [(19, "one")]
    assert text.find(r"\bis read\b") == [(1, "is read")]
    assert text.find(r"\bwhat\b") == [(7, "what")]
    assert text.find("[;:](?= |$)") == []


def test_a_private_word_is_found_across_lines(tmp_path):
    page = tmp_path / "page.rst"
    page.write_text(PAGE)
    [problem] = problems(page)
    assert problem.startswith(f"{page}:9: 'is away': write ")


def test_too_many_of_a_kind_are_named_by_line(tmp_path):
    page = tmp_path / "page.rst"
    page.write_text("It is here.\n\nIt is there.\n\n" * 2)
    [problem] = problems(page)
    assert problem.endswith("it, its: 4 in 12 words, and 3 are enough: lines 1, 3, 5, 7")


def test_each_ceiling_is_over_what_good_pages_have():
    assert all(rule["anchors"] < rule["most"] <= 1 + rule["anchors"] for rule in RULES["often"])


def test_a_program_is_read_for_its_words_and_not_for_its_names(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        '"""A docstring,\njust one."""\nassert just is away  # simply\nf"{7} easily"\n'
    )
    assert [problem.split(": ")[:2] for problem in problems(program)] == [
        [f"{program}:2", "'just'"],
        [f"{program}:3", "'simply'"],
        [f"{program}:4", "'easily'"],
    ]
