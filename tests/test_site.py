"""The audit: what the site shows has been proved by a run, or the build fails and says where."""

import pytest

PAGE = """
:project: tea

.. code-block:: console

   $ python manage.py migrate --verbosity 0

>>> from django.contrib.auth.models import User
>>> User.objects.count()
0

- in a list:

  >>> 6 * 7
  42
"""


@pytest.fixture
def index(house):
    """Write the site's only page, run it, and build."""

    def index(text: str, run: bool = True) -> tuple[int, str, str]:
        house.write("docs/index.rst", ":project: tea\n\nTitle\n=====\n\n" + text)
        if run:
            house.run()
        return house.build()

    return index


def test_each_block_of_a_good_page_says_where_it_ran(index):
    status, warnings, html = index(PAGE.replace(":project: tea\n\n", ""))
    assert (status, warnings) == (0, "")
    assert html.count('<div class="highlight">') == html.count("Run on SQLite 3.") == 3


UNPROVEN = [  # Each with the line, within the block, that docutils gives it.
    (".. code-block:: py\n\n   1 / 0\n", 0),
    (".. code-block:: Python\n\n   1 / 0\n", 0),
    (".. code-block:: bash\n\n   $ false\n", 0),
    (".. code-block::\n\n   1 / 0\n", 0),
    (".. code:: python\n\n   1 / 0\n", 0),
    ("Look::\n\n   1 / 0\n", 2),
    (".. parsed-literal::\n\n   1 / 0\n", 2),
    (">>> 1\n2\n", 0),
    (".. code-block:: python\n\n   1 / 0\n", 0),
    (".. code-block:: python\n   :caption: shop/never.py\n\n   1 / 0\n", 0),
]


@pytest.mark.parametrize(("block", "line"), UNPROVEN)
def test_a_block_that_no_run_proved_fails_the_build(index, block, line):
    status, warnings, html = index(f">>> 1\n1\n\nText.\n\n{block}")
    assert status == 1
    assert f"docs/index.rst:{11 + line}: WARNING: no passing example covers this block" in warnings
    assert html.count("Run on ") == 1


SHOWN = """.. code-block:: text
   :caption: shop/notes.txt

   Tea.

>>> print(open("shop/notes.txt").read())
Tea.
<BLANKLINE>
"""
# Each is followed by a file that is no Python, and is read: it ran, and proves nothing of these.
UNPROVEN_BEFORE_A_FILE = {
    "py": ".. code-block:: py\n\n   1 / 0\n",
    "no language": "::\n\n   1 / 0\n",
    "highlight": ".. highlight:: python\n\n::\n\n   1 / 0\n",
    "code": ".. code:: python\n\n   1 / 0\n",
    "sourcecode": ".. sourcecode:: python\n\n   1 / 0\n",
    "a Python by another name": ".. code-block:: numpy\n\n   1 / 0\n",
    "a shell by another name": ".. code-block:: fish\n\n   false\n",
    "in a note": ".. note::\n\n   .. code-block:: py\n\n      1 / 0\n",
    "in a table": ".. list-table::\n\n   * - ::\n\n         1 / 0\n     - Tea.\n",
    "output after a blank line": ".. code-block:: pycon\n\n   >>> a = 1\n\n   42\n",
    "what only looks like a prompt": ".. code-block:: pycon\n\n   >> 1 / 0\n   1\n",
}


@pytest.mark.parametrize("name", UNPROVEN_BEFORE_A_FILE)
def test_what_follows_a_block_does_not_prove_it(index, name):
    status, warnings, html = index(f"{UNPROVEN_BEFORE_A_FILE[name]}\n{SHOWN}")
    assert status == 1
    assert warnings.count("no passing example covers this block") == 1, warnings
    assert html.count("Run on ") == 1  # what reads the file


def test_blocks_after_a_broken_one_are_not_proven(index):
    status, warnings, html = index(">>> 1 / 0\n1\n\n.. code-block:: python\n\n   1\n")
    assert status == 1
    assert warnings.count("no passing example covers this block") == 2
    assert "livedocs" not in html


def test_another_language_is_left_alone(index):
    status, warnings, html = index(".. code-block:: sql\n\n   SELECT 1\n\n>>> 1\n1\n")
    assert (status, warnings) == (0, "")
    assert html.count("Run on ") == 1


def test_a_skip_gives_the_reader_its_reason(index):
    status, warnings, html = index('.. skip: next "it needs a server"\n\n>>> 1\n2\n')
    assert (status, warnings) == (0, "")
    assert "Not run: it needs a server" in html


@pytest.mark.parametrize(
    "changed", ["docs/index.rst", "examples/tea/shop/routers.py", "examples/tea/shop/new.py"]
)
def test_a_stale_record_marks_nothing(house, index, changed):
    index(">>> 1\n1\n")
    file = house.folder / changed
    file.write_text((file.read_text() if file.exists() else "") + "\n\n# Changed\n")
    status, warnings, html = house.build()
    assert status == 1
    assert "docs/index.rst: it was not run as it now stands" in warnings
    assert "Run on" not in html


def test_a_record_holds_in_a_checkout_that_was_moved(house, index):
    index(">>> 1\n1\n")
    house.folder = house.folder.rename(house.folder.with_name("moved"))
    status, warnings, html = house.build()
    assert (status, warnings) == (0, "")
    assert html.count("Run on ") == 1


def test_a_missing_record_marks_nothing(index):
    status, warnings, html = index(">>> 1\n1\n", run=False)
    assert status == 1
    assert "docs/index.rst: it was not run as it now stands" in warnings
    assert "Run on" not in html


def test_a_page_is_written_again_when_only_the_record_changed(house, index):
    index(">>> 1\n1\n", run=False)
    house.run()
    status, warnings, html = house.build()
    assert (status, warnings) == (0, "")
    assert "Run on" in html


def test_the_list_of_pages_and_blocks(house, index):
    house.write("docs/other.rst", ":orphan:\n\nOther\n=====\n\n>>> 1\n1\n")
    _, _, html = index('.. verified-pages::\n\n>>> 1\n1\n\n.. skip: next "no server"\n\n>>> 2\n3\n')
    assert '<a class="reference internal" href="other.html">' in html
    assert "line 8: Python, passed" in html
    assert "line 13: Python, skipped (no server)" in html


DECK = """
:project: tea

Talk
====

Slide
-----

.. revealjs-code-block:: python
   :caption: shop/routers.py

   class Router:
       pass

Next
----

.. revealjs-code-block:: python

   from shop.routers import Router

.. revealjs-literalinclude:: ../examples/tea/shop/settings.py
   :start-at: DATABASE_ROUTERS
   :end-at: DATABASE_ROUTERS
"""


def test_the_deck_is_run_and_audited_too(house):
    house.write("slides/index.rst", DECK)
    house.run("slides")
    status, warnings, html = house.build("revealjs", "slides")
    assert (status, warnings) == (0, "")
    assert html.count("<pre") == html.count("Run on") == 3

    house.write("slides/index.rst", DECK + "\n.. revealjs-code-block:: py\n\n   1 / 0\n")
    house.run("slides")
    status, warnings, html = house.build("revealjs", "slides")
    assert status == 1
    assert "slides/index.rst:26: WARNING: no passing example covers this block" in warnings


def test_a_part_of_another_file_has_that_file_s_lines(house):
    house.write(
        "examples/tea/README.rst",
        "Tea\n===\n\nA few\n\nlines\n\nfirst.\n\n.. Here.\n\n>>> 1\n1\n\nText.\n\n>>> 2\n2\n",
    )
    house.run("docs", "examples/tea/README.rst")
    include = ".. include:: ../examples/tea/README.rst\n   :start-after: .. Here.\n"
    house.write("docs/index.rst", f"Title\n=====\n\n{include}")
    status, warnings, html = house.build()
    assert (status, warnings) == (0, "") and html.count("Run on ") == 2
