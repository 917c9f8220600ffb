"""An exercise of a page: its parts as the reader sees them, and what its author must write."""

import re
import shutil
from pathlib import Path
from textwrap import indent
from xml.etree import ElementTree

import pytest

THEME = Path(__file__).parents[1] / "theme"
CONF = """
import os, sys
sys.path.insert(0, os.path.dirname(__file__))
extensions = ["livedocs.site", "theme.exercises", "theme.glance", "sphinx_revealjs"]
project, version, epub_copyright = "Tea", "1", "nobody"
"""
HEAD = ":project: clocks\n\nTitle\n=====\n\n"
FILE = """
.. code-block:: python
   :caption: shop/tea.py

   CUPS = {}
"""
CHECK = """
>>> from shop.tea import CUPS
>>> for cup in CUPS:
...     print(cup)
{}
"""
COMMANDS = """
.. code-block:: console

   $ cat shop/tea.py - << END
   > {}
   > END
   CUPS = {}
   ...
"""
BEFORE = FILE.format([0]), CHECK.format(0)
AFTER = FILE.format([2]), CHECK.format(2)


def exercise(asked, solved=(), after=""):
    text = "".join(["Pour.\n", *asked])
    if solved:
        text += "\n.. solution::\n\n" + indent("".join(["So.\n", *solved]), "   ")
    return ".. exercise:: Fill *each* cup\n\n" + indent(text + after, "   ")


@pytest.fixture
def build(house):
    """Build a page with a text, with all that a run of this page proved."""
    shutil.copytree(THEME, house.folder / "theme", ignore=shutil.ignore_patterns("__pycache__"))
    house.write("conf.py", CONF)

    def build(text, builder="html"):
        house.page(HEAD + text, "docs/index.rst")
        return house.build(builder)

    return build


def test_an_exercise_and_its_folded_solution_are_run(build, house):
    house.page(HEAD + exercise(BEFORE, AFTER), "docs/index.rst")
    counts, _ = house.run()
    assert set(counts) == {"passed"} and counts["passed"] >= 6  # 2 files, 2 checks of 2 statements
    status, warnings, html = build(exercise(BEFORE, AFTER))
    assert (status, warnings) == (0, "")
    parts = html.partition('<div class="exercise">')[2].split('<details class="solution">')
    asked, solved = (re.sub("<[^>]+>", "", part.partition("</details>")[0]) for part in parts)
    assert asked.startswith("\nFill *each* cup\nPour.\n")
    assert solved.startswith("\nSolution\nSo.\n")
    assert [re.findall(r"^CUPS.*|^\d$|^Run on", part, re.M) for part in (asked, solved)] == [
        ["CUPS = [0]", "Run on", "0", "Run on"],
        ["CUPS = [2]", "Run on", "2", "Run on"],
    ]
    assert "<h" not in parts[0]  # the title is not a heading


@pytest.mark.parametrize("builder, name", [("revealjs", "index.html"), ("epub", "index.xhtml")])
def test_another_builder_shows_the_content(build, house, builder, name):
    build(exercise(BEFORE, AFTER), builder)
    page = (house.folder / "_build" / builder / name).read_text()
    for text in "Fill *each* cup", "Pour.", "Solution", "So.":
        assert f">{text}<" in page
    if builder == "epub":
        ElementTree.fromstring(page)


OTHER_CHECK = AFTER[0], AFTER[1].replace("in CUPS:", "in CUPS[:1]:")
MISTAKES = {
    "no solution": (exercise(BEFORE), "add .. solution:: as the last part of the exercise"),
    "more after it": (exercise(BEFORE, AFTER, "\nMore.\n"), "an exercise ends with its solution"),
    "no file": (exercise(BEFORE[1:], AFTER), "1 blocks before the solution, and 2 in it"),
    "only a check": (exercise(BEFORE[1:], AFTER[1:]), "1 blocks before the solution, and 1 in it"),
    "not checked": (exercise(BEFORE, AFTER[:1]), "2 blocks before the solution, and 1 in it"),
    "other prompts": (exercise(BEFORE, OTHER_CHECK), "change only the output"),
    "no prompts": (exercise(BEFORE[::-1], AFTER[::-1]), "copy the lines with >>> or $ into"),
    "other commands": (
        exercise(
            (BEFORE[0], COMMANDS.format("tea", [0])), (AFTER[0], COMMANDS.format("cake", [2]))
        ),
        "copy the lines with >>> or $ into the solution",
    ),
    "same output": (
        exercise(BEFORE, (AFTER[0], BEFORE[1])),
        "write a check whose output the solution changes",
    ),
}


@pytest.mark.parametrize("text, what_to_do", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_an_error_that_says_what_to_do(build, text, what_to_do):
    status, warnings, _ = build(text)
    assert status and what_to_do in warnings


def test_the_output_of_a_check_may_begin_with_three_dots(build):
    before, after = (COMMANDS.format("tea", cups) for cups in ([0], [2]))
    after = after.rstrip().removesuffix("...") + "tea\n"
    _, warnings, _ = build(exercise((BEFORE[0], before), (AFTER[0], after)))
    assert "same check" not in warnings


def test_an_exercise_is_not_in_the_time_to_read(build):
    box = ".. glance::\n   :what: Tea.\n\n"
    _, warnings, html = build(box + exercise(("word " * 4000 + "\n", *BEFORE), AFTER))
    assert "words at most" not in warnings and "1 minute<" in html
