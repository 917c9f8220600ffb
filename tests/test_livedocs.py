"""Pages that are broken on purpose: livedocs finds each fault, and reports its line."""

import ast
import re
import shlex
import subprocess
import sys
from collections import Counter, defaultdict
from graphlib import TopologicalSorter
from pathlib import Path
from xml.etree import ElementTree

import pytest

import livedocs

ROOT = Path(__file__).parents[1]
PYTEST = f"{shlex.quote(sys.executable)} -m pytest --collect-only -q -p no:cacheprovider"
GOOD = """
:project: tea

A page
======

.. code-block:: python
   :caption: shop/routers.py

   class Router:
       def db_for_read(self, model, **hints):
           return "default" if hints else 1 / 0

>>> from shop.routers import Router
>>> Router().db_for_read(None, instance=1)
'default'

.. code-block:: console

   $ python manage.py migrate --verbosity 0
   $ python -c "
   > print(6 * 7)
   > "
   42
   $ python manage.py nonsense
   Unknown command: 'nonsense'...
   Type 'manage.py help' for usage.
   $ echo $?
   1

.. literalinclude:: ../examples/tea/shop/routers.py
   :pyobject: Router

.. code-block:: python

   from django.contrib.auth.models import User
   from shop.routers import NAME

   User.objects.create(username="malcolm")

>>> NAME, User.objects.count()
('tea', 1)
"""


def test_a_good_page(house):
    house.page(GOOD)
    assert house.run()[0] == {"passed": 8}
    ((entry,),) = (runs.values() for runs in house.record().values())
    assert entry["databases"]["default"].startswith("SQLite 3.")
    blocks = {
        (block["kind"], block["line"], block["outcome"]) for block in entry["blocks"].values()
    }
    assert ("place_file", 6, "passed") in blocks
    assert ("run_console", 17, "passed") in blocks


def test_any_selection_replays_what_goes_before(house):
    house.page(GOOD)
    line = GOOD.strip().splitlines().index(">>> NAME, User.objects.count()") + 1
    assert house.run("docs/page.rst", "-k", f"line:{line}")[0] == {"passed": 1, "deselected": 7}
    assert house.run(f"docs/page.rst::line:{line},column:1")[0] == {"passed": 1}
    assert house.run("docs", "-n", "2")[0] == {"passed": 8}


def test_two_projects_with_modules_of_the_same_names(house):
    for project in ("tea", "clocks"):
        text = f":project: {project}\n\n>>> from shop.routers import NAME\n>>> NAME\n{project!r}\n"
        house.page(text, f"docs/{project}.rst")
    assert house.run()[0] == {"passed": 6}


def test_without_a_project_there_is_no_django(house):
    house.page(">>> import os, sys\n>>> os.listdir(), 'django' in sys.modules\n([], False)\n")
    assert house.run()[0] == {"passed": 3}


def test_a_page_that_makes_its_own_project(house):
    """It runs in an empty folder, with only the zips that it links to."""
    house.write("LICENSE", "Terms")
    house.write("examples/tea/cups/__init__.py", "SIZE = 3\n")
    house.page("""
        :project: new

        Take :take:`tea/cups`.

        .. code-block:: console

           $ ls -A
           $ ls ~/Downloads
           cups.zip
           $ django-admin startproject shop .
           $ python -m zipfile -e ~/Downloads/cups.zip .
           $ ls cups
           LICENSE
           __init__.py

        .. code-block:: python
           :caption: shop/settings.py, at the end

           import cups
           SIZES = [cups.SIZE]

        .. code-block:: python
           :caption: shop/settings.py, at the end

           SIZES += [4]

        >>> from django.conf import settings
        >>> settings.SIZES, settings.ROOT_URLCONF
        ([3, 4], 'shop.urls')

        .. code-block:: python
           :caption: shop/settings.py, at the end

           SIZES += 5

        >>> from django.conf import settings
        >>> settings.SIZES
        """)
    counts, printed = house.run()
    assert counts == {"passed": 6, "failed": 1, "skipped": 2}, printed
    assert re.search(r'docs/page.rst", line 34, in <module>\n +SIZES \+= 5', printed), printed
    # The record depends on the sources of the apps that the page takes.
    assert house.record_is_current()
    house.write("examples/tea/cups/__init__.py", "SIZE = 30\n")
    assert not house.record_is_current()


ODD = {
    "DJANGO_SETTINGS_MODULE": "no.such",
    "LANG": "tr_TR.ISO-8859-9",
    "LC_ALL": "C",
    "PYTHONHASHSEED": "0",
    "PYTHONIOENCODING": "latin-1",
    "PYTHONWARNINGS": "error",
    "TZ": "Pacific/Kiritimati",
    "PGHOST": "nowhere.example",
}


@pytest.mark.parametrize("odd", [{}, ODD], ids=["bare", "odd"])
def test_a_page_runs_alike_on_every_machine(house, odd):
    """The processes have the environment of livedocs, and not the caller's."""
    house.page("""
        :project: tea

        .. code-block:: console

           $ python -c "
           > import sys; print('one'); print('two', file=sys.stderr); print('th\u00e9')"
           one
           two
           th\u00e9
           $ python -c "import time; print(time.tzname[0], time.localtime(0).tm_hour)"
           UTC 0
           $ env | cut -d= -f1 | grep -E '^(DJANGO|PG|PYTEST|PYTHON(HASH|IO|WARN))' | wc -l
           0

        >>> import os
        >>> [name for name in os.environ if name.startswith(("PG", "PYTEST", "PYTHONWARN"))]
        []
        >>> import sys
        >>> sys.warnoptions, sys.flags.hash_randomization, sys.__stdout__.encoding
        ([], 1, 'utf-8')
        """)
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(house.folder)}
    counts, printed = house.run(environment=bare | odd)
    assert counts == {"passed": 6}, printed


def test_what_contributing_says_to_run_finds_its_tests():
    text = (ROOT / "docs/contributing.rst").read_text()
    commands = re.findall(r"^   \$ (.* -m pytest.*)$", text, re.MULTILINE)
    assert len(commands) == 8
    for command in commands:
        command = command.replace(" -k line:120", "")  # The lines of blocks may change.
        command = re.sub(r" --engine=\w+", "", command)  # The server may not be installed.
        command = re.sub(r"(\.\./)*\.venv/3\.11/bin/python -m pytest", PYTEST, command)
        process = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
        assert process.returncode == 0, f"$ {command}\n{process.stdout}{process.stderr}"


def test_no_module_imports_in_a_circle():
    """Imports within functions count, too."""
    imports = {}
    for file in Path(livedocs.__file__).parent.glob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text())))
        imports[f"livedocs.{file.stem}"] = {
            name
            for node in nodes
            if isinstance(node, ast.ImportFrom | ast.Import)
            for imported in node.names
            for name in (
                [f"{node.module}", f"{node.module}.{imported.name}"]
                if isinstance(node, ast.ImportFrom)
                else [imported.name]
            )
        }
    TopologicalSorter(imports).prepare()  # CycleError has the modules of the circle.


# The page's text, the number of its blocks that pass, fail and are skipped, and the messages.
FAULTS = {
    "a wrong expected output, which nothing builds on": (
        ">>> 1 + 1\n3\n\n>>> 2\n2\n",
        {"passed": 2, "failure": 1},
        ["Expected:\n    3\nGot:\n    2", "page.rst:3: SybilFailure"],
    ),
    "an exception": (
        ">>> 1\n1\n\n.. code-block:: python\n\n   a = 1\n   b = a / 0\n\n>>> b\n1\n",
        {"passed": 1, "failure": 1, "skipped": 2},
        [
            '/page.rst", line 9, in <module>\n    b = a / 0',
            "ZeroDivisionError",
            "/page.rst, line 6 failed",
        ],
    ),
    "an exception in a file that the page shows": (
        ".. code-block:: python\n   :caption: shop/late.py\n\n"
        "   def late():\n       return 1 / 0\n\n"
        ".. code-block:: python\n\n   import shop.late\n\n   shop.late.late()\n",
        {"passed": 1, "failure": 1, "skipped": 1},
        [
            '/page.rst", line 7, in late\n    return 1 / 0',
            '/page.rst", line 13, in <module>',
        ],
    ),
    "an exception in the project, from a command": (
        ".. code-block:: console\n\n   $ python -c 'import shop.settings, shop.nothing'\n",
        {"failure": 1, "skipped": 1},
        ["No module named 'shop.nothing'", "ended with exit status 1", "page.rst:3: SybilFailure"],
    ),
    "more for a file that is not there": (
        ".. code-block:: python\n   :caption: shop/late.py, at the end\n\n   LATE = 1\n",
        {"failure": 1, "skipped": 1},
        ["this block is added to shop/late.py, but there is no such file", "page.rst:3: SybilFail"],
    ),
    "an included file that the project has not": (
        ".. literalinclude:: ../../examples/tea/shop/router.py\n",
        {"failure": 1, "skipped": 1},
        ["shop/router.py", "page.rst:3: SybilFailure"],
    ),
    "a router renamed in the project": (
        ".. literalinclude:: ../../examples/tea/shop/routers.py\n   :pyobject: TeaRouter\n\n"
        ">>> 1\n1\n",
        {"failure": 1, "skipped": 2},
        ["Object named 'TeaRouter' not found", "page.rst:3: SybilFailure"],
    ),
    "a file of another project": (
        ".. literalinclude:: ../../examples/clocks/shop/routers.py\n",
        {"failure": 1, "skipped": 1},
        ["clocks/shop/routers.py is not in the project that the page's first line names: tea"],
    ),
    "a file outside the page's folder": (
        ".. code-block:: python\n   :caption: shop/../../out.py\n\n   1\n",
        {"failure": 1, "skipped": 1},
        ["shop/../../out.py is outside the page's folder"],
    ),
    "an included file that nothing loads": (
        ".. literalinclude:: ../../examples/tea/manage.py\n\n>>> 1\n1\n",
        {"passed": 2, "failure": 1},
        ["line 3 shows manage.py, but no process of the page has read"],
    ),
    "a typed file that was loaded only before the page changed it": (
        ">>> import shop.routers\n\n"
        ".. code-block:: python\n   :caption: shop/routers.py\n\n   A = 1\n\n>>> 1\n1\n",
        {"passed": 3, "failure": 1},
        ["line 5 shows shop/routers.py, but no process of the page has read"],
    ),
    "a block that is not run, and does not say so": (
        ">>> 1 / 0  # doctest: +SKIP\n2\n\n>>> 1\n1\n",
        {"failure": 1, "passed": 2},
        ["# doctest: +SKIP\ndoctest's flags are not", '.. skip: next "why"', "page.rst:3: Sybil"],
    ),
    "an exception of which the text is not compared": (
        ">>> int('x')  # doctest: +IGNORE_EXCEPTION_DETAIL\nTraceback (most recent call last):\n"
        "ValueError: tea\n",
        {"failure": 1, "passed": 1},
        ["# doctest: +IGNORE_EXCEPTION_DETAIL\ndoctest's flags are not"],
    ),
    "output before an exception, not shown": (
        ">>> print('tea'); int('x')\nTraceback (most recent call last):\n    ...\n"
        "ValueError: invalid literal for int() with base 10: 'x'\n\n"
        ">>> print('tea'); int('x')\ntea\nTraceback (most recent call last):\n    ...\n"
        "ValueError: invalid literal for int() with base 10: 'x'\n",
        {"passed": 2, "failure": 1},
        ["Got:\n    tea\n    Traceback", "page.rst:3: SybilFailure"],
    ),
    "a stack that was another": (
        ">>> int('x')\nTraceback (most recent call last):\n  File \"tea.py\", line 1, in brew\n"
        "ValueError: invalid literal for int() with base 10: 'x'\n",
        {"passed": 1, "failure": 1},
        ['page.rst", line 3, in <module>'],
    ),
    "a number for a truth": (
        ">>> 1 == 1\n1\n",
        {"passed": 1, "failure": 1},
        ["Expected:\n    1\nGot:\n    True"],
    ),
    "output before the first command": (
        ".. code-block:: console\n\n   All is well.\n   $ echo tea\n   tea\n",
        {"failure": 1, "skipped": 1},
        ["a console block must begin with a command"],
    ),
    "an included file with a line that it has not": (
        ".. literalinclude:: ../../examples/tea/shop/routers.py\n   :prepend: import coffee\n",
        {"failure": 1, "skipped": 1},
        [":prepend: shows text that the file lacks"],
    ),
    "a command that fails": (
        ".. code-block:: console\n\n   $ echo tea; exit 3\n   tea\n\n>>> 1\n1\n",
        {"failure": 1, "skipped": 2},
        ["tea\nthe command ended with exit status 3", "write `$ echo $?` on the next line"],
    ),
    "a command whose status is not the one shown": (
        ".. code-block:: console\n\n   $ (exit 3)\n   $ echo $?\n   4\n",
        {"passed": 1, "failure": 1},
        ["Expected:\n    4\nGot:\n    3"],
    ),
    "a command that prints something else": (
        ".. code-block:: console\n\n   $ echo one; echo two\n   one\n   ...\n   three\n",
        {"passed": 1, "failure": 1},
        ["Expected:\n    one\n    ...\n    three\nGot:\n    one\n    two"],
    ),
    "a console block without a prompt": (
        ".. code-block:: console\n\n   python manage.py migrate\n",
        {"failure": 1, "skipped": 1},
        ["begin with a command, on a line that begins with `$ `"],
    ),
    "a child that dies": (
        ">>> 1\n1\n>>> import os; os._exit(9)\n>>> 2\n2\n",
        {"passed": 1, "failure": 1, "skipped": 2},
        ["the page's interpreter died, with exit code 9", "/page.rst, line 5 failed"],
    ),
    "settings that can't be imported": (
        ".. code-block:: python\n   :caption: shop/settings.py\n\n   DATABASES = {}\n   1 / 0\n\n"
        ">>> 1\n1\n",
        {"passed": 1, "failure": 1, "skipped": 1},
        ['/page.rst", line 7, in <module>\n', "ZeroDivisionError", "page.rst:9: SybilFailure"],
    ),
}


# Text that looks like a block or a project but is not, the reported line, and what to write.
SLIPS = {
    "one colon": (".. code-block: python\n\n   1 / 0\n", 3, "`.. code-block:: python`"),
    "no colon": (".. code-block python\n\n   1 / 0\n", 3, "`.. code-block:: python`"),
    "one colon, of another directive": (".. topology: tea\n", 3, "a directive has two colons"),
    "three colons": (".. code-block::: python\n\n   1 / 0\n", 3, "`.. code-block:: python`"),
    "three dots": ("... code-block:: python\n\n   1 / 0\n", 3, "`.. code-block:: python`"),
    "no space": ("..code-block:: python\n\n   1 / 0\n", 3, "`.. code-block:: python`"),
    "a name misspelt": (".. codeblock:: python\n\n   1 / 0\n", 3, "`.. code-block:: python`"),
    "a name in capitals": (".. Code-Block:: python\n\n   1 / 0\n", 3, "`.. code-block:: python`"),
    "an include misspelt": (".. literal-include:: a.py\n", 3, "`.. code-block:: python`"),
    "sourcecode": (".. sourcecode:: python\n\n   1 / 0\n", 3, "`.. code-block:: python`"),
    "a body that is not indented": (".. code-block:: python\n\n1 / 0\n", 3, "indent its lines"),
    "an empty body": (".. code-block:: console\n\nText.\n", 3, "the block is empty"),
    "no language": (".. code-block::\n\n   1 / 0\n", 3, "write python, pycon, console, or text"),
    "a literal block": ("Look::\n\n   1 / 0\n", 3, "write python, pycon, console, or text"),
    "another Python": (".. code-block:: py\n\n   1 / 0\n", 3, "write python"),
    "another shell": (".. code-block:: bash\n\n   $ false\n", 3, "write console"),
    "no known language": (".. code-block:: brew\n\n   1 / 0\n", 3, "no language brew"),
    "a caption that is no path": (
        ".. code-block:: python\n   :caption: The router\n\n   1\n",
        3,
        "and this is not a path: The router",
    ),
    "a caption that is another path": (
        ".. literalinclude:: ../../examples/tea/shop/routers.py\n   :caption: shop/tea.py\n",
        3,
        "the caption is shop/tea.py, but the file is shop/routers.py",
    ),
    "python at a prompt": (".. code-block:: python\n\n   >>> 1\n   1\n", 3, "code-block:: pycon"),
    "pycon without a prompt": (".. code-block:: pycon\n\n   1 / 0\n", 3, "begins with `>>> `"),
    "a prompt of two": (">> 1 / 0\n1\n", 3, "a prompt is `>>> `"),
    "a prompt of two in a block": (
        ".. code-block:: pycon\n\n   >> 1 / 0\n   1\n\n   >>> 1\n   1\n",
        5,
        "a prompt is `>>> `",
    ),
    "a command in prose": ("$ false\n", 3, "`.. code-block:: console`"),
    "a block in a comment": (
        "..\n   .. code-block:: python\n\n      a = 1\n",
        4,
        "this block is in a comment, so the reader does not see it",
    ),
    "a prompt in a comment": (
        ".. Not shown.\n\n   >>> a = 1\n",
        5,
        "this block is in a comment, so the reader does not see it",
    ),
    "an include without its file": (".. literalinclude::\n", 3, "names no file"),
    "a prompt of four": (">>>> 1 / 0\n", 3, "lacks blank after >>>"),
    "a prompt without a space": ("Text.\n\n>>>1 / 0\n", 5, "lacks blank after >>>"),
    "output that is not indented": (
        "- Text.\n\n  >>> 1\n 1\n",
        6,
        "inconsistent leading whitespace",
    ),
    "a prompt within a paragraph": ("Text.\n>>> 1\n1\n", 4, "needs an empty line above it"),
    "a prompt beside a bullet": ("- >>> 1 / 0\n", 3, "a block must begin on its own line"),
    "a block beside a bullet": (
        "* - .. code-block:: python\n\n       1 / 0\n",
        3,
        "a block must begin on its own line",
    ),
    "a skip that is a directive": (
        'Text.\n\n.. skip:: next "why"\n\n>>> 1\n1\n',
        5,
        'exactly this: .. skip: next "why"',
    ),
    "a skip without a reason": (".. skip: next\n\n>>> 1\n1\n", 3, "a skip needs a reason"),
    "a reason without quotes": (".. skip: next why\n\n>>> 1\n1\n", 3, "a skip needs a reason"),
    "a skip of all that follows": (
        '.. skip: start "why"\n\n>>> 1\n1\n',
        3,
        'exactly this: .. skip: next "why"',
    ),
    "a skip without an empty line above": (
        '>>> 1\n1\n.. skip: next "why"\n\n>>> 1\n1\n',
        3,
        'Expected:\n    1\n    .. skip: next "why"\nGot:',
    ),
    "a skip of nothing": ('>>> 1\n1\n\n.. skip: next "why"\n', 6, "right above its block"),
    "a skip of a later block": (
        '.. skip: next "why"\n\n.. code-block:: sql\n\n   SELECT 1\n\n>>> 1\n1\n',
        3,
        "right above its block",
    ),
    "a skip that swallows its block": (
        '.. skip: next "why"\n\n   .. code-block:: python\n\n      1 / 0\n',
        3,
        "with the same indentation",
    ),
    "a project in capitals": (":Project: tea\n\n>>> 1\n1\n", 1, "`:project: functional`"),
    "a project below the title": ("Tea\n===\n\n:project: tea\n", 4, "with nothing above it"),
    "a project without its name": (":project:\n\n>>> 1\n1\n", 1, "`:project: functional`"),
    "a project that is no field": ("project: tea\n\n>>> 1\n1\n", 1, "`:project: functional`"),
    "a tab of no engine": (
        ".. engine:: Oracle\n\n   >>> 1\n   1\n",
        3,
        "a tab names its engines: SQLite, PostgreSQL, MariaDB",
    ),
    "a tab in a list": (
        "- .. engine:: SQLite\n\n     >>> 1\n     1\n",
        3,
        "a block must begin on its own line",
    ),
    "an engine of another name": (
        ":project: tea\n:engines: postgres: why\n\n>>> 1\n1\n",
        2,
        "`:engines: sqlite: why`. The engines are sqlite, postgresql, mariadb, mixed",
    ),
    "engines without a reason": (
        ":project: tea\n:engines: sqlite\n\n>>> 1\n1\n",
        2,
        "gives the reader the reason",
    ),
    "engines below the title": ("Tea\n===\n\n:engines: sqlite: why\n", 6, "in its first lines"),
    "a change of folder": (
        ".. code-block:: console\n\n   $ cd shop\n",
        3,
        "changes its shell (folder tea/shop)",
    ),
    "a change of the environment": (
        ".. code-block:: console\n\n   $ export TEA=green COFFEE=\n",
        3,
        "(COFFEE='', TEA='green')",
    ),
    "a variable": (".. code-block:: console\n\n   $ TEA=green\n", 3, "NAME=value command"),
    "an alias": (".. code-block:: console\n\n   $ alias tea=ls\n", 3, "changes its shell"),
    "an option of the shell": (".. code-block:: console\n\n   $ set -e\n", 3, "changes its shell"),
    "a mask": (".. code-block:: console\n\n   $ umask 0135\n", 3, "(umask 0135)"),
    "a variable removed": (".. code-block:: console\n\n   $ unset HOME\n", 3, "changes its shell"),
    "a file read by the shell": (
        ".. code-block:: console\n\n   $ echo 'cd shop' > go\n   $ . ./go\n",
        3,
        "changes its shell",
    ),
    "the end of the shell": (".. code-block:: console\n\n   $ exit 0\n", 3, "(it ended the shell)"),
    "a line that is not indented alike": (
        ".. code-block:: python\n\n   a = 1\n     b = 2\n",
        3,
        "IndentationError: unexpected indent",
    ),
}


def test_each_fault_is_caught(house, subtests):
    """In one run, with a page for each fault."""
    pages = [text for text, *_ in [*FAULTS.values(), *SLIPS.values()]]
    for number, text in enumerate(pages):
        top = "" if "project:" in text.lower() else ":project: tea\n\n"
        house.page(top + text, f"docs/{number}/page.rst")
    house.run("docs", "-n", "2", "--dist", "loadfile", "--junitxml=report.xml")
    counts, said = defaultdict(Counter), defaultdict(str)
    for case in ElementTree.parse(house.folder / "report.xml").iter("testcase"):
        number = int(case.get("classname").split(".")[1])
        wrong = [found for found in case if found.tag != "properties"]
        counts[number][wrong[0].tag if wrong else "passed"] += 1
        said[number] += "".join(f"{found.get('message')}\n{found.text}\n" for found in wrong)
    for number, (name, (_, wanted, parts)) in enumerate(FAULTS.items()):
        with subtests.test(name):
            assert counts[number] == wanted, said[number]
            for part in parts:
                assert part in said[number]
    for number, (name, (_, line, cure)) in enumerate(SLIPS.items(), len(FAULTS)):
        with subtests.test(name):
            assert counts[number]["failure"] and f"page.rst:{line}: Sybil" in said[number]
            assert cure in said[number]
            assert "livedocs" not in said[number]  # no lines of livedocs above those of the page


def test_only_the_site_has_tabs(house):
    text = ":project: tea\n\n.. engine:: SQLite\n\n   >>> 1\n   1\n"
    house.page(text, "slides/index.rst")
    house.page(text, "examples/tea/README.rst")
    counts, printed = house.run("slides", "examples/tea/README.rst")
    assert counts == {"failed": 2, "passed": 4}
    assert printed.count("only the site's pages have tabs for engines") == 2


def test_a_page_on_another_engine(house):
    """Each alias is changed as by a reader: only the parts for SQLite are removed."""
    house.write(
        "examples/tea/shop/settings.py",
        """
        DATABASES = {
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": "data/default.sqlite3",
                "OPTIONS": {"transaction_mode": "IMMEDIATE"},
                "ATOMIC_REQUESTS": True,
            },
            "reading": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": "file:data/default.sqlite3?mode=ro",
                "TEST": {"MIRROR": "default"},
            },
            "second": {"ENGINE": "django.db.backends.sqlite3", "NAME": "second.sqlite3"},
            "passing": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
        }
        INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
        """,
    )
    page = """
        :project: tea

        .. code-block:: console

           $ mkdir data
           $ python manage.py migrate --verbosity 0

        >>> from django.conf import settings
        >>> [settings.DATABASES[alias]["ENGINE"].split(".")[-1] for alias in settings.DATABASES]
        {engines}
        >>> from django.contrib.auth.models import Group
        >>> Group.objects.using("reading").count()
        0
        >>> Group.objects.using("reading").create(name="readers")
        Traceback (most recent call last):
            ...
        django.db.utils.{error}
        >>> settings.DATABASES["default"]["ATOMIC_REQUESTS"]
        True
        """
    server, lite = "postgresql", "sqlite3"
    for engine, engines, error in [
        ("sqlite", [lite] * 4, "OperationalError: attempt to write a readonly database"),
        ("postgresql", [server] * 3 + [lite], "InternalError: cannot execute INSERT in a read-..."),
        ("mixed", [lite, lite, server, lite], "OperationalError: attempt to write a readonly..."),
    ]:
        house.page(page.format(engines=engines, error=error))
        counts, printed = house.run("docs", f"--engine={engine}")
        assert counts == {"passed": 8}, printed


def test_a_path_from_the_top_of_the_site(house):
    include = ".. literalinclude:: /../examples/tea/shop/routers.py\n"
    house.page(f":project: tea\n\n{include}\n>>> import shop.routers\n", "docs/deep/page.rst")
    assert house.run()[0] == {"passed": 3}


def test_an_unknown_project(house):
    house.page(":project: coffee\n\n>>> 1\n1\n")
    counts, printed = house.run()
    assert counts == {"failed": 1, "skipped": 1}, printed
    assert ":project: coffee is not a folder of examples/, which has: clocks, tea" in printed


@pytest.mark.parametrize(
    "block",
    [
        ">>> import time; time.sleep(60)\n",
        ".. code-block:: console\n\n   $ echo tea; sleep 60 | cat\n",
    ],
)
def test_what_hangs_is_stopped(house, block):
    house.page(block)
    counts, printed = house.run(timeout=1)
    assert counts == {"failed": 1, "skipped": 1}, printed
    assert "stopped: it was still running after 1 seconds" in printed


def test_a_block_asked_for_alone_fails_with_what_it_builds_on(house):
    house.page(".. code-block:: python\n\n   a = 1 / 0\n\n>>> a\n1\n")
    counts, printed = house.run("docs", "-k", "line:5")
    assert counts["failed"] == 1
    assert "it needs line 1, which failed" in printed
    assert "ZeroDivisionError" in printed


def test_a_skip_with_its_reason(house):
    house.page('.. skip: next "it needs a server"\n\n>>> 1\n2\n')
    assert house.run()[0] == {"passed": 2, "skipped": 1}
    ((entry,),) = (runs.values() for runs in house.record().values())
    assert entry["blocks"]["3"]["reason"] == "it needs a server"
