"""The audit: if a run did not prove a block of the site, the build fails, with the line."""

import re

import django
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


NO_EXAMPLE = "no passing example covers this block"
# Blocks that are not proven by the run of their page, docutils' line in the block, the reason.
UNPROVEN = {
    "py": (
        ".. code-block:: py\n\n   1 / 0\n",
        0,
        "a block of py is not run: write python",
    ),
    "Python": (".. code-block:: Python\n\n   1 / 0\n", 0, "a block of Python is not run"),
    "bash": (
        ".. code-block:: bash\n\n   $ false\n",
        0,
        "a block of bash is not run: write console, with the prompt `$ `",
    ),
    "no language": (".. code-block::\n\n   1 / 0\n", 0, "a block without a language is not run"),
    "code": (".. code:: python\n\n   1 / 0\n", 0, "the run did not find it"),
    "a literal block": ("Look::\n\n   1 / 0\n", 2, "a block without a language is not run"),
    "parsed": (".. parsed-literal::\n\n   1 / 0\n", 2, "a block without a language is not run"),
    "other output": (">>> 1\n2\n", 0, "it failed when its page was run. To see why: pytest docs/"),
    "an exception": (".. code-block:: python\n\n   1 / 0\n", 0, "it failed when its page was run"),
    "a file that nothing reads": (
        ".. code-block:: python\n   :caption: shop/never.py\n\n   1 / 0\n",
        0,
        "it failed when its page was run",
    ),
}
SHOWN = """.. code-block:: text
   :caption: shop/notes.txt

   Tea.

>>> print(open("shop/notes.txt").read())
Tea.
<BLANKLINE>
"""
# A file follows each, which is not Python, but is read: its run proves nothing about the block.
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


def test_what_no_run_proved_fails_the_build(house, subtests):
    """In one run and one build, with a page for each block."""
    top, proven = ":project: tea\n\nTitle\n=====\n\n", ">>> 1\n1\n\nText.\n\n"
    # For each page: its text, its warnings, and the number of its marked blocks.
    pages = {
        name: (proven + block, [f"rst:{11 + line}: WARNING: {NO_EXAMPLE}: {why}"], 1)
        for name, (block, line, why) in UNPROVEN.items()
    }
    pages |= {
        f"{name}, before a file": (f"{block}\n{SHOWN}", [NO_EXAMPLE], 1)  # which reads the file
        for name, block in UNPROVEN_BEFORE_A_FILE.items()
    }
    pages["what follows a broken block"] = (
        ">>> 1 / 0\n1\n\n.. code-block:: python\n\n   1\n",
        [f"{NO_EXAMPLE}: it failed when its page was run"] * 2,
        0,
    )
    pages["another language"] = (".. code-block:: sql\n\n   SELECT 1\n\n>>> 1\n1\n", [], 1)
    for number, (text, _, _) in enumerate(pages.values()):
        house.page(top + text, f"docs/{number}.rst")
    house.page("Index\n=====\n\n.. toctree::\n   :glob:\n\n   *\n", "docs/index.rst")
    house.run("docs", "-n", "2", "--dist", "loadfile")
    status, warnings, _ = house.build()
    assert status == 1
    for number, (name, (_, wanted, marks)) in enumerate(pages.items()):
        with subtests.test(name):
            told = [
                line for line in warnings.splitlines() if line.startswith(f"docs/{number}.rst:")
            ]
            assert len(told) == len(wanted), told
            for line, part in zip(told, wanted, strict=True):
                assert part in line
            html = (house.folder / f"_build/html/{number}.html").read_text()
            assert html.count('class="livedocs') == html.count("Run on ") == marks


def test_a_file_that_is_included_as_code_is_not_proven(index):
    status, warnings, html = index(
        ">>> 1\n1\n\n.. include:: ../examples/tea/shop/settings.py\n   :code: python\n"
    )
    assert status == 1
    assert warnings.count("docs/index.rst:0: WARNING: no passing example covers this block") == 1
    assert html.count("Run on ") == 1


@pytest.mark.parametrize(
    "changed", ["docs/index.rst", "examples/tea/shop/routers.py", "examples/tea/shop/new.py"]
)
def test_a_stale_record_marks_nothing(house, index, changed):
    index(">>> 1\n1\n")
    file = house.folder / changed
    file.write_text((file.read_text() if file.exists() else "") + "\n\n# Changed\n")
    status, warnings, html = house.build()
    assert status == 1
    assert "docs/index.rst: there is no run of this page in its present state" in warnings
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
    assert "docs/index.rst: there is no run of this page in its present state" in warnings
    assert "Run on" not in html


def test_a_page_is_written_again_when_only_the_record_changed(house, index):
    index(">>> 1\n1\n", run=False)
    house.run()
    status, warnings, html = house.build()
    assert (status, warnings) == (0, "")
    assert "Run on" in html


def test_the_table_of_pages(house, index):
    house.write("docs/other.rst", ":orphan:\n\nOther\n=====\n\n>>> 1\n1\n")
    _, _, html = index('.. verified-pages::\n\n>>> 1\n1\n\n.. skip: next "no server"\n\n>>> 2\n3\n')
    assert '<a class="reference internal" href="other.html">' in html
    assert re.findall(r"<p>(SQLite, Django [\d.]+|All|[\d]+(?:, .*)?)</p>", html) == [
        f"SQLite, Django {django.__version__}",
        "1, 1 not run",
        "1",
        "All",
        "2, 1 not run",
    ]


TABS = """
:project: tea

Title
=====

>>> from django.db import connection
>>> with connection.cursor() as cursor:
...     _ = cursor.execute("SELECT 1")

.. engine:: SQLite

   >>> connection.vendor
   'sqlite'

.. engine:: PostgreSQL and MariaDB

   .. code-block:: python
      :caption: shop/routers.py

      class Router:
          pass

   >>> from shop.routers import Router

Text.

.. engine:: PostgreSQL

   >>> 1
   1
"""
MARK = r'<p class="livedocs [\w -]+">(.*?)</p>'


def test_a_block_says_each_engine_that_ran_it(house):
    house.write("docs/index.rst", TABS)
    house.run("docs")
    assert house.build()[:2] == (0, "")
    without = "Not run on PostgreSQL{} for this site"
    sqlite = rf"Run on SQLite [\d.]+; Django {re.escape(django.__version__)}"
    both, one = without.format(" or MariaDB"), without.format("")
    wanted = [sqlite, sqlite, both, both, one]
    assert_marks(house.build()[2], wanted)

    house.run("docs", "--engine=postgresql")
    status, warnings, html = house.build()
    assert (status, warnings) == (0, "")
    both = sqlite.replace(";", r", PostgreSQL [\d.]+;")
    server = r"Run on PostgreSQL [\d.]+; Django .*"
    assert_marks(html, [both, sqlite, server, server, server])
    assert html.count('<div class="engine">') == 3

    text = TABS.lstrip("\n") + "\n.. engine:: SQLite\n\n   >>> 1\n   2\n"
    house.write("docs/index.rst", text)
    house.run("docs")
    house.run("docs/index.rst::line:6,column:1", "--engine=postgresql")
    status, warnings, _ = house.build()
    assert f"docs/index.rst:{text.count(chr(10)) - 1}: WARNING: {NO_EXAMPLE}: it failed" in warnings
    assert warnings.count("To run all of it: pytest --engine=postgresql docs") == 4


def assert_marks(html: str, wanted: list[str]) -> None:
    marks = re.findall(MARK, html)
    assert len(marks) == len(wanted), marks
    for mark, pattern in zip(marks, wanted, strict=True):
        assert re.fullmatch(pattern, mark)


def test_a_page_that_an_engine_cannot_run_says_why(house):
    text = TABS.replace("tea\n", "tea\n:engines: postgresql: SQLite has no\n   server\n")
    house.write("docs/index.rst", text)
    assert house.run("docs")[0] == {"skipped": 1}
    status, warnings, html = house.build()
    assert (status, warnings) == (0, "")
    said = "The examples on this page run on PostgreSQL only, because SQLite has no server."
    assert f'<p class="livedocs-limits">{said}</p>' in html
    assert "Run on" not in html
    assert house.run("docs", "--engine=postgresql")[0] == {"passed": 6}
    assert house.build()[2].count("Run on PostgreSQL") == 4


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


def test_a_part_of_the_deck_that_an_engine_cannot_run_says_why(house):
    block = ".. revealjs-code-block:: python\n\n   1 + 1\n"
    part = f".. What follows.\n\nPart\n----\n\n{block}\nMore\n----\n\n{block}"
    house.write("slides/parts/part.rst", f":engines: sqlite: Django attaches files\n\n{part}")
    include = ".. include:: parts/part.rst\n   :start-after: What follows.\n"
    house.write("slides/index.rst", f"Talk\n====\n\nSlide\n-----\n\nText.\n\n{include}")
    house.run("slides")
    status, warnings, html = house.build("revealjs", "slides")
    assert (status, warnings) == (0, "")
    assert html.count("livedocs-limits") == 1
    said = "The examples in this part run on SQLite only, because Django attaches files."
    assert f'<h2>Part</h2>\n<p class="livedocs-limits">{said}</p>' in html
    part = house.folder / "slides/parts/part.rst"
    part.write_text(part.read_text().replace(" sqlite:", " sqlite, postgresql, mariadb:"))
    said = (
        "The examples in this part run on SQLite, PostgreSQL and MariaDB. In each run, all "
        "databases are of the same engine, because Django attaches files."
    )
    assert said in house.build("revealjs", "slides")[2]


def test_a_block_that_passes_the_hundredth_line(index):
    """In the record, lines are keys of JSON, and "100" sorts before "99"."""
    status, warnings, html = index(
        ".. At the top.\n" + "\n" * 90 + "".join(f">>> {n}\n{n}\n" for n in range(4))
    )
    assert (status, warnings) == (0, "") and html.count("Run on ") == 1


def test_a_part_of_another_file_that_ends_before_its_last_blocks(house):
    text = "Tea\n===\n\n>>> 1\n1\n\n.. There.\n\nText.\n\n>>> 2\n2\n"
    house.write("examples/tea/README.rst", text)
    house.run("docs", "examples/tea/README.rst")
    include = ".. include:: ../examples/tea/README.rst\n   :end-before: .. There.\n"
    house.write("docs/index.rst", f"Title\n=====\n\n{include}")
    status, warnings, html = house.build()
    assert (status, warnings) == (0, "") and html.count("Run on ") == 1


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
