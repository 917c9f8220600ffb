"""What Django asks a router: the matrix that was recorded, and this environment's Django."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import django
import pytest
from django.db.models import Manager, Model, QuerySet

from pictures.hint_matrix import Row, alike, answers, matrix, recorded

ROOT = Path(__file__).parents[1]
HINTS = ROOT / "pictures" / "hints"
RELEASE = "{}.{}".format(*django.VERSION)
#: Methods that build a queryset, or describe a class: they run no query, and have no row alone.
ASK_NOTHING = {
    "as_manager", "resolve_expression", "check", "clean", "date_error_message", "from_db",
    "get_constraints", "get_deferred_fields", "prepare_database_save", "unique_error_message",
    "contribute_to_class", "deconstruct", "from_queryset", "get_queryset",
}  # fmt: skip
#: Places in Django that no call of the matrix reaches. The page names them.
NOT_REACHED = {
    # Spatial data, and extensions of PostgreSQL.
    "contrib/gis/utils/layermapping.py": ["LayerMapping.__init__"],
    "contrib/postgres/operations.py": [
        f"{name}.database_{way}"
        for name in ("CreateExtension", "CreateCollation", "RemoveCollation")
        for way in ("forwards", "backwards")
    ],
    # `raw()` passes the alias, so that its queryset does not ask.
    "db/models/query.py": ["RawQuerySet.db"],
}
#: These ask only if their caller names no alias, and Django's own callers name one.
NOT_REACHED_IN = {
    "6.1": {
        "contrib/auth/management/__init__.py": ["rename_permissions_after_model_rename"],
        "db/models/fields/related_descriptors.py": [
            f"create_forward_many_to_many_manager.ManyRelatedManager.{name}"
            for name in ("_add_base", "_remove_base", "_clear_base", "_add_items", "_remove_items")
        ],
        # The check of a field without these arguments.
        "db/models/fields/__init__.py": [
            "DecimalField._check_decimal_places",
            "DecimalField._check_max_digits",
        ],
    }
}


def record(*arguments: str) -> dict:
    """Record every call again, in a process without this one's modules and settings."""
    names = ("PATH", "HOME", "TMPDIR")
    process = subprocess.run(
        [sys.executable, HINTS / "record.py", *arguments],
        env={name: os.environ[name] for name in names if name in os.environ},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.fixture(scope="module")
def known():
    return recorded()[RELEASE]


def lines(data: dict) -> dict[str, list]:
    """Return what each call asks, in the order of the questions."""
    return {
        f"{group}: {call['call']} {call['note']} {form}": list(call[form].items())
        for group, calls in data["groups"].items()
        for call in calls
        for form in ("asked", "async_asked")
        if form in call
    }


def test_each_call_asks_what_the_matrix_says(known):
    now = record()
    before, after = lines(known), lines(now)
    differ = [
        f"{call}\n  in the matrix: {before.get(call)}\n  Django {now['django']}: {after.get(call)}"
        for call in before | after
        if before.get(call) != after.get(call)
    ]
    assert not differ, "record the matrix again, by make hints:\n" + "\n".join(differ)
    assert known | {"django": now["django"]} == now


def test_the_answers_of_a_router_do_not_change_the_questions(known):
    assert lines(record("default")) == lines(known)


def test_no_call_is_in_a_group_twice(known):
    for calls in known["groups"].values():
        keys = [(call["call"], call["note"]) for call in calls]
        assert len(set(keys)) == len(keys)


def test_the_page_names_the_asynchronous_forms_that_ask_otherwise(known):
    rows = [call for calls in known["groups"].values() for call in calls if "async_asked" in call]
    names = [re.search(r"\.(a\w+)\(", row["async"])[1] for row in rows]
    assert names == ["acount", "aexists", "alogin"]


@pytest.mark.parametrize("release", recorded())
def test_the_calls_reach_each_question_in_django(release):
    data = recorded()[release]
    assert data["django"].startswith(f"{release}.")
    assert data["not_reached"] == dict(
        sorted((NOT_REACHED | NOT_REACHED_IN.get(release, {})).items())
    )


@pytest.mark.parametrize("owner", [QuerySet, Manager, Model])
def test_each_public_method_is_in_a_call(owner, known):
    codes = [
        call[form]
        for calls in known["groups"].values()
        for call in calls
        for form in ("call", "async")
        if form in call
    ]
    called = {
        node.attr
        for code in codes
        for node in ast.walk(ast.parse(code.removeprefix("await ").replace("async for", "for")))
        if isinstance(node, ast.Attribute)
    }
    public = {
        name for name in dir(owner) if not name.startswith("_") and callable(getattr(owner, name))
    }
    assert public - called - ASK_NOTHING == set()


def test_the_page_shows_each_group_once():
    page = (ROOT / "docs" / "hints.rst").read_text()
    shown = re.findall(r"^\.\. hint-matrix:: (.+)$", page, re.M)
    assert shown == ["differences", *matrix()]


def test_calls_that_ask_the_same_are_a_row_and_differences_name_their_releases():
    rows = [
        Row("a", "", {"5.2": ["x × 2"], "6.1": ["x"]}),
        Row("b", "", {"5.2": ["y"], "6.1": ["y"]}),
        Row("c", "", {"5.2": ["x × 2"], "6.1": ["x"]}),
        Row("d", "", {"5.2": None, "6.1": []}),
    ]
    assert [[row.call for row in same] for same in alike(rows)] == [["a", "c"], ["b"], ["d"]]

    def text(row):
        return [part.astext() for part in answers(row)]

    assert text(rows[0]) == ["Django 5.2:", "x × 2", "Django 6.1:", "x"]
    assert text(rows[1]) == ["y"]
    assert text(rows[3]) == ["Django 5.2:", "has no such call", "Django 6.1:", "none"]


def test_an_unknown_group_is_an_error(house):
    status, warnings, _ = house.build_page(".. hint-matrix:: riting\n", "pictures")
    assert status and "no such group: write differences, or one of reading, combining" in warnings


def test_a_table_is_not_counted_as_words_of_its_page(house):
    box = ".. glance::\n   :what: A table.\n\n"
    page = f"{box}{'word ' * 3400}\n\n.. hint-matrix:: writing relations\n"
    assert house.build_page(page, "livedocs.site", "theme.glance", "pictures")[:2] == (0, "")
