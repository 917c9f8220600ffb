"""A page's runner in the browser can't import livedocs, so it repeats how blocks are read."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def value_of(name: str, path: str) -> str:
    """Return the expression that a file assigns to a name, in a form that ignores the layout."""
    assigned = (
        node for node in ast.parse((ROOT / path).read_text()).body if hasattr(node, "targets")
    )
    return next(ast.dump(node.value) for node in assigned if ast.unparse(node.targets[0]) == name)


@pytest.mark.parametrize(
    "name, path",
    [
        ("COMMAND", "livedocs/pages.py"),
        ("FLAGS", "livedocs/interpreter.py"),
        ("SETTINGS", "livedocs/interpreter.py"),
    ],
)
def test_both_read_a_block_in_the_same_way(name, path):
    assert value_of(name, "live/runner/page.py") == value_of(name, path)
