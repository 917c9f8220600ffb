"""The picture of what a page did to its databases is drawn only from the page's run."""

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from livedocs.timelines import Timeline, timelines_of
from pictures.timeline import Reader, describe

ROOT = Path(__file__).parents[1]
SVG = "{http://www.w3.org/2000/svg}"
CONF = """
import os, sys
sys.path.insert(0, os.path.dirname(__file__))
extensions = ["livedocs.site", "pictures"]
"""
SETTINGS = """
def sqlite(**more):
    return {"ENGINE": "django.db.backends.sqlite3", **more}

DATABASES = {
    "default": sqlite(NAME="default.sqlite3"),
    "copy": sqlite(NAME="file:copy.sqlite3?mode=ro", TEST={"MIRROR": "default"}),
    "other": sqlite(NAME="other.sqlite3"),
}
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
"""
TOP = """
:project: tea

Title
=====

.. code-block:: console

   $ python manage.py migrate --verbosity 0
   $ cp default.sqlite3 copy.sqlite3

>>> from django.contrib.auth.models import Group
>>> ghost = Group.objects.create(name="ghost")
>>> ghost.delete()[0]
1
"""
WRITE = '>>> black = Group.objects.create(name="black")\n'
PAGE = """
A stale read
------------

{write}>>> Group.objects.using("copy").filter(name="black").exists()
False

.. code-block:: console

   $ cp default.sqlite3 copy.sqlite3

>>> [group.name for group in Group.objects.using("copy")]
['black']

.. timeline:: auth.Group.name

   A *caption*.
"""


@pytest.fixture
def tea(house):
    """A checkout whose project has a primary and a replica, which a page copies.

    The function runs a page, builds the site, and returns the warnings and the index as HTML.
    """
    shutil.copytree(
        ROOT / "pictures", house.folder / "pictures", ignore=shutil.ignore_patterns("__pycache__")
    )
    house.write("conf.py", CONF)
    house.write("examples/tea/shop/settings.py", SETTINGS)

    def built(text, run=True):
        house.page(f"{TOP}{text}".lstrip("\n"), "docs/index.rst")
        if run:
            counts, printed = house.run()
            assert counts.keys() == {"passed"}, printed
        _, warnings, html = house.build()
        return warnings, html

    tea = built
    tea.house = house
    return tea


def picture(html):
    """Return the description of the picture on a page, the classes of its marks, and its text."""
    svg = ElementTree.fromstring(re.search("<svg.*?</svg>", html, re.DOTALL)[0])
    marks = [group.get("class") for group in svg.iter(f"{SVG}g") if group.get("class")]
    letters = [text.text for text in svg.iter(f"{SVG}text")]
    return svg.findtext(f"{SVG}desc"), marks, letters


def test_what_is_drawn_is_what_happened(tea):
    warnings, html = tea(PAGE.format(write=WRITE))
    assert warnings == ""
    words, marks, letters = picture(html)
    assert words == (
        '1. >>> black = Group.objects.create(name="black"): '
        "default: INSERT of auth.Group: “black”. "
        '2. >>> Group.objects.using("copy").filter(name="black").exists(): '
        "auth.Group is read from copy: no row. This read is stale: default would answer 1 row. "
        "3. $ cp default.sqlite3 copy.sqlite3: copy has what default has. "
        '4. >>> [group.name for group in Group.objects.using("copy")]: '
        "auth.Group is read from copy: “black”."
    )
    assert marks[:4] == ["write", "stale", "arrival", "read"]
    assert {"default", "copy", "stale", "no row", "behind its primary"} <= set(letters)
    assert "ghost" not in html.partition("<svg")[2].partition("</svg>")[0]  # In another section.
    assert "other" not in letters  # Nothing happened there.
    assert "A <em>caption</em>." in html.partition("<figcaption>")[2]


def test_without_the_write_it_is_another_picture(tea):
    # The replica has no other changes, so only the write can be missing there.
    warnings, html = tea(PAGE.format(write="").replace("['black']", "[]"))
    words, marks, letters = picture(html)
    assert warnings == ""
    assert "INSERT" not in words and "stale" not in words
    assert [mark for mark in marks if mark in ("write", "stale", "arrival")] == []
    assert marks[:2] == ["read", "read"] and "no row" in letters


def test_a_name_that_is_none_is_a_warning(tea):
    page = PAGE.format(write=WRITE)
    warnings, _ = tea(page.replace("auth.Group.name", "auth.Guild auth.Group.label auth.User"))
    for name in ("auth.Guild", "auth.Group.label"):
        assert f".. timeline:: the project has no model or field {name}" in warnings
    assert re.search(
        r"index\.rst:\d+: WARNING: \.\. timeline:: no statement of lines 16 to \d+ reads or writes "
        "auth.User: it draws the blocks between the heading above and itself",
        warnings,
    )


def test_without_a_run_a_page_says_what_it_lacks(tea):
    _, html = tea(PAGE.format(write=WRITE), run=False)
    assert "<svg" not in html
    assert "It is drawn from a run of this page, and this site was built" in html


HARD = """
>>> from django.contrib.auth.models import Group
>>> from django.db import transaction
>>> Group.objects.using("copy").create(name="green")
Traceback (most recent call last):
    ...
django.db.utils.OperationalError: attempt to write a readonly database
>>> with transaction.atomic():
...     white = Group.objects.create(name="white")
...     transaction.set_rollback(True)
>>> for name in ("oolong", "sencha", "matcha"):
...     count = Group.objects.create(name=name) and Group.objects.count()
>>> count
3

.. code-block:: console

   $ mv other.sqlite3 away.sqlite3

>>> count = 0

.. code-block:: console

   $ mv away.sqlite3 other.sqlite3

.. timeline:: auth.Group.name
   :watch:
      count = count
      yes = count and "a cup of tea, or two, or three"
"""


def test_what_is_refused_rolled_back_repeated_gone_or_watched(tea):
    migrate = ".. code-block:: console\n\n   $ python manage.py migrate --database other -v 0\n"
    warnings, html = tea(f"\n{migrate}\nHard\n----\n{HARD}")
    words, marks, letters = picture(html)
    assert warnings == ""
    assert "copy refuses the INSERT of auth.Group: OperationalError." in words
    assert "default: INSERT of auth.Group: “white”; default: what the transaction wrote" in words
    assert "INSERT × 3" in letters and "“oolong”" not in letters
    assert {"1", "2", "3"} <= set(letters)  # Three reads with different answers.
    assert "$ mv other.sqlite3 away.sqlite3: other does not answer any more." in words
    assert "count is 3; yes is a cup of tea,…" in words
    assert "count is 0; yes is 0" in words
    assert {"refused", "rollback", "gone"} <= set(marks)


def test_a_second_timeline_knows_where_the_replica_stood(tea):
    more = PAGE.format(write=WRITE).replace("   A *caption*.\n", "") + (
        '>>> import shutil\n>>> green = Group.objects.create(name="green")\n\n'
        ".. timeline:: auth.Group\n\n"
        '>>> path = shutil.copy("default.sqlite3", "copy.sqlite3")\n'
        ">>> Group.objects.count()\n2\n\n"
        ".. timeline:: auth.Group\n"
    )
    _, html = tea(more)
    second, third = html.split("</svg>")[1:3]
    words, _, letters = picture(f"{second}</svg>")
    assert (
        words == '1. >>> green = Group.objects.create(name="green"): default: INSERT of auth.Group.'
    )
    assert "behind its primary" in letters and "copy" in letters
    assert "1. >>> path = shutil.copy(" in picture(f"{third}</svg>")[0]
    assert "copy has what default has. 2." in picture(f"{third}</svg>")[0]


def test_only_the_blocks_of_a_timeline_are_noted(tea):
    tea(PAGE.format(write=WRITE))
    (run,) = tea.house.record()["docs/index.rst"].values()
    noted = {block["text"] for block in run["blocks"].values() if block.get("events")}
    assert not any("ghost" in text or "migrate" in text for text in noted)
    assert any("black" in text for text in noted)


def test_a_page_without_a_timeline_notes_nothing(house):
    house.page(
        ":project: tea\n\n>>> import os, sys\n>>> 'LIVEDOCS_EVENTS' in os.environ\nFalse\n"
        ">>> 'livedocs_events' in sys.modules\nFalse\n"
    )
    counts, printed = house.run()
    assert counts == {"passed": 4}, printed


def test_a_timeline_draws_what_stands_between_it_and_the_heading_or_timeline_above():
    text = (
        "Title\n=====\n\n>>> 1\n\nSection\n-------\n\n>>> 2\n\n.. timeline:: a.B.c d.E\n"
        "   :watch: its name = x == 1\n\n   Caption.\n\n>>> 3\n\n.. timeline:: a.B\n   :watch:\n"
        "      one = 1\n      two = 2\n"
    )
    assert timelines_of(text) == [
        Timeline(11, 6, ("a.B.c", "d.E"), {"its name": "x == 1"}),
        Timeline(18, 11, ("a.B",), {"one": "1", "two": "2"}),
    ]


def test_it_begins_where_it_is_told_to_and_shows_writes_alone_if_it_is_told_to(tea):
    page = PAGE.format(write=WRITE + ">>> black.name = 'green'\n>>> black.save()\n")
    page = page.replace("['black']", "['green']").replace(
        "   A *caption*.", "   :writes:\n   :from: black.save"
    )
    page = page.replace("auth.Group.name\n\n", "auth.Group\n")
    warnings, html = tea(page)
    assert warnings == ""
    assert picture(html)[0] == (
        "1. >>> black.save(): default: UPDATE of auth.Group: name = “green”. "
        "2. $ cp default.sqlite3 copy.sqlite3: copy has what default has."
    )
    warnings, _ = tea(page.replace("black.save", "black.safe", 2).replace(".safe()", ".save()"))
    assert "no step that reads or writes has the text black.safe" in warnings


KILLED = """
Killed
------

.. code-block:: console

   $ python manage.py migrate --database other -v 0
   $ python manage.py shell --verbosity 0 --command "
   > import os
   > from django.contrib.auth.models import Group
   > from django.db import transaction
   > with transaction.atomic('other'):
   >     Group.objects.using('other').create(name='lost')
   >     with transaction.atomic():
   >         Group.objects.create(name='saved')
   >     os._exit(0)"

.. timeline:: auth.Group.name
{commits}"""


def test_the_commits_are_drawn_if_they_are_asked_for(tea):
    warnings, html = tea(KILLED.format(commits="   :commits:\n"))
    words, marks, letters = picture(html)
    assert warnings == ""
    assert "other: INSERT of auth.Group: “lost”; default: INSERT of auth.Group: “saved”" in words
    assert words.endswith("default: COMMIT.")  # And no COMMIT on other, whose process has ended.
    assert marks.count("commit") == 2 and "committed" in letters  # The mark, and the legend.
    _, html = tea(KILLED.format(commits=""))
    assert "COMMIT" not in picture(html)[0]


BACKGROUND = """
Meanwhile
---------

>>> import subprocess, sys
>>> from django.contrib.auth.models import Group
>>> code = "from django.contrib.auth.models import Group; Group.objects.create(name='theirs')"
>>> command = [sys.executable, "manage.py", "shell", "--verbosity", "0", "--command", code]
>>> for name in ("one", "two"):
...     mine = Group.objects.create(name=name)
...     done = subprocess.run(command, check=name == "one", capture_output=True)

.. timeline:: auth.Group.name
"""


def test_another_process_is_told_apart(tea):
    _, html = tea(BACKGROUND)
    words, marks, letters = picture(html)
    assert "“one”; default: INSERT of auth.Group: “theirs” (by shell); default: INSERT" in words
    assert "default refuses the INSERT of auth.Group: IntegrityError" in words
    assert "written by shell" in letters


def look(*, moving=False, **rows):
    """A look at databases with these numbers of rows. None: the database does not answer."""
    databases = {
        alias: {
            "primary": "default" if alias == "copy" else None,
            "holds": None if number is None else {"a.B": [number, str(number)]},
        }
        for alias, number in rows.items()
    }
    databases["default"]["moving"] = moving
    return {"kind": "look", "databases": databases}


def step(text):
    return {"kind": "step", "text": text}


INSERT = {"kind": "write", "alias": "default", "model": "a.B", "verb": "INSERT", "process": 1}


def words_of(*events):
    return describe(Reader(several=False).of(list(events)))


def test_a_primary_that_is_written_to_during_a_look_is_compared_with_no_replica():
    still = [look(default=1, copy=1), step("one"), INSERT, look(default=2, copy=1), step("two")]
    assert "copy is still behind" in words_of(*still, INSERT, look(default=4, copy=2))
    # Its rows were counted first. The replica is counted later, and may have more.
    assert "behind" not in words_of(*still, INSERT, look(default=4, copy=5, moving=True))


def test_a_database_that_was_away_is_back_with_the_first_thing_that_was_done_there():
    events = [look(default=1), step("kill"), look(default=None), step("go on"), INSERT, INSERT]
    run = Reader(several=False).of([*events, look(default=3)])
    ((gone, back),) = run.away["default"]
    assert (gone.kind, back.kind, back.times) == ("gone", "write", 2)
    run = Reader(several=False).of([*events[:4], look(default=1)])
    assert run.away["default"][0][1].lines == ["back", "1 row"]
    empty = {"kind": "look", "databases": {"default": {"primary": None, "holds": {"a.B": None}}}}
    run = Reader(several=False).of([*events[:4], empty])
    assert run.away["default"][0][1].lines == ["back", "no table"]
