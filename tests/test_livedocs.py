"""Pages broken on purpose, each in a house of its own: livedocs catches each, and says where."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import livedocs

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
    (entry,) = house.record().values()
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
    """Its processes have an environment that livedocs makes, and none of the caller's."""
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


def test_no_module_imports_in_a_circle():
    """Not within a function either."""
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
    TopologicalSorter(imports).prepare()  # CycleError names the circle.


# The page; how many of its blocks pass, fail and are skipped; what is said.
FAULTS = {
    "a wrong expected output, which nothing builds on": (
        ">>> 1 + 1\n3\n\n>>> 2\n2\n",
        {"passed": 2, "failed": 1},
        ["Expected:\n    3\nGot:\n    2", "page.rst:3: SybilFailure"],
    ),
    "an exception": (
        ">>> 1\n1\n\n.. code-block:: python\n\n   a = 1\n   b = a / 0\n\n>>> b\n1\n",
        {"passed": 1, "failed": 1, "skipped": 2},
        [
            'docs/page.rst", line 9, in <module>\n    b = a / 0',
            "ZeroDivisionError",
            "docs/page.rst, line 6 failed",
        ],
    ),
    "an exception in a file that the page shows": (
        ".. code-block:: python\n   :caption: shop/late.py\n\n"
        "   def late():\n       return 1 / 0\n\n"
        ".. code-block:: python\n\n   import shop.late\n\n   shop.late.late()\n",
        {"passed": 1, "failed": 1, "skipped": 1},
        [
            'docs/page.rst", line 7, in late\n    return 1 / 0',
            'docs/page.rst", line 13, in <module>',
        ],
    ),
    "an exception in the project, from a command": (
        ".. code-block:: console\n\n   $ python -c 'import shop.settings, shop.nothing'\n",
        {"failed": 1, "skipped": 1},
        ["No module named 'shop.nothing'", "ended with exit status 1", "page.rst:3: SybilFailure"],
    ),
    "an included file that the project has not": (
        ".. literalinclude:: ../examples/tea/shop/router.py\n",
        {"failed": 1, "skipped": 1},
        ["shop/router.py", "page.rst:3: SybilFailure"],
    ),
    "a router renamed in the project": (
        ".. literalinclude:: ../examples/tea/shop/routers.py\n   :pyobject: TeaRouter\n\n"
        ">>> 1\n1\n",
        {"failed": 1, "skipped": 2},
        ["Object named 'TeaRouter' not found", "page.rst:3: SybilFailure"],
    ),
    "a file of another project": (
        ".. literalinclude:: ../examples/clocks/shop/routers.py\n",
        {"failed": 1, "skipped": 1},
        ["clocks/shop/routers.py is not in the project that the page's first line names: tea"],
    ),
    "a file outside the page's folder": (
        ".. code-block:: python\n   :caption: shop/../../out.py\n\n   1\n",
        {"failed": 1, "skipped": 1},
        ["shop/../../out.py is outside the page's folder"],
    ),
    "an included file that nothing loads": (
        ".. literalinclude:: ../examples/tea/manage.py\n\n>>> 1\n1\n",
        {"passed": 2, "failed": 1},
        ["line 3 shows manage.py, which no process of the page has read"],
    ),
    "a typed file that was loaded only before the page changed it": (
        ">>> import shop.routers\n\n"
        ".. code-block:: python\n   :caption: shop/routers.py\n\n   A = 1\n\n>>> 1\n1\n",
        {"passed": 3, "failed": 1},
        ["line 5 shows shop/routers.py, which no process of the page has read"],
    ),
    "a block that is not run, and does not say so": (
        ">>> 1 / 0  # doctest: +SKIP\n2\n\n>>> 1\n1\n",
        {"failed": 1, "skipped": 2},
        ["# doctest: SKIP is not for a page", '.. skip: next "why"', "page.rst:3: SybilFailure"],
    ),
    "an exception of which the text is not compared": (
        ">>> int('x')  # doctest: +IGNORE_EXCEPTION_DETAIL\nTraceback (most recent call last):\n"
        "ValueError: tea\n",
        {"failed": 1, "skipped": 1},
        ["# doctest: IGNORE_EXCEPTION_DETAIL is not for a page"],
    ),
    "a number for a truth": (
        ">>> 1 == 1\n1\n",
        {"passed": 1, "failed": 1},
        ["Expected:\n    1\nGot:\n    True"],
    ),
    "output before the first command": (
        ".. code-block:: console\n\n   All is well.\n   $ echo tea\n   tea\n",
        {"failed": 1, "skipped": 1},
        ["a console block begins with a command"],
    ),
    "an included file with a line that it has not": (
        ".. literalinclude:: ../examples/tea/shop/routers.py\n   :prepend: import coffee\n",
        {"failed": 1, "skipped": 1},
        [":prepend: shows what the file does not have"],
    ),
    "a skip without a reason": (
        ".. skip: next\n\n>>> 1\n2\n",
        {"failed": 1, "skipped": 2},
        ["a skip gives its reason", "page.rst:3: SybilFailure"],
    ),
    "a command that fails": (
        ".. code-block:: console\n\n   $ echo tea; exit 3\n   tea\n\n>>> 1\n1\n",
        {"failed": 1, "skipped": 2},
        ["tea\nended with exit status 3", "goes on with `$ echo $?`"],
    ),
    "a command whose status is not the one shown": (
        ".. code-block:: console\n\n   $ exit 3\n   $ echo $?\n   4\n",
        {"passed": 1, "failed": 1},
        ["Expected:\n    4\nGot:\n    3"],
    ),
    "a command that prints something else": (
        ".. code-block:: console\n\n   $ echo one; echo two\n   one\n   ...\n   three\n",
        {"passed": 1, "failed": 1},
        ["Expected:\n    one\n    ...\n    three\nGot:\n    one\n    two"],
    ),
    "a console block without a prompt": (
        ".. code-block:: console\n\n   python manage.py migrate\n",
        {"failed": 1, "skipped": 1},
        ["has no command: a line that begins with `$ `"],
    ),
    "a child that dies": (
        ">>> 1\n1\n>>> import os; os._exit(9)\n>>> 2\n2\n",
        {"passed": 1, "failed": 1, "skipped": 2},
        ["the page's interpreter died, with exit code 9", "docs/page.rst, line 5 failed"],
    ),
    "settings that can't be imported": (
        ".. code-block:: python\n   :caption: shop/settings.py\n\n   DATABASES = {}\n   1 / 0\n\n"
        ">>> 1\n1\n",
        {"passed": 1, "failed": 1, "skipped": 1},
        ['docs/page.rst", line 7, in <module>\n', "ZeroDivisionError", "page.rst:9: SybilFailure"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_caught(house, fault):
    text, counts, said = FAULTS[fault]
    house.page(":project: tea\n\n" + text)
    got, printed = house.run()
    assert got == counts, printed
    for part in said:
        assert part in printed


def test_an_unknown_project(house):
    house.page(":project: coffee\n\n>>> 1\n1\n")
    counts, printed = house.run()
    assert counts == {"failed": 1, "skipped": 1}, printed
    assert ":project: coffee is no folder of examples/, which has: clocks, tea" in printed


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
    assert "it builds on line 1, which failed" in printed
    assert "ZeroDivisionError" in printed


def test_a_skip_with_its_reason(house):
    house.page('.. skip: next "it needs a server"\n\n>>> 1\n2\n')
    assert house.run()[0] == {"passed": 2, "skipped": 1}
    (entry,) = house.record().values()
    assert entry["blocks"]["3"]["reason"] == "it needs a server"
