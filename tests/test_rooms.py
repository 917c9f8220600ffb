"""The folders of the checkout, and which other folders each may import."""

import ast
import runpy
from pathlib import Path

import pytest
from sphinx.project import Project

ROOT = Path(__file__).parents[1]
#: The packages that each of these may import.
MAY_ASK = {"livedocs": set(), "pictures": {"livedocs"}, "theme": {"livedocs"}, "live": {"livedocs"}}


def imported(file: Path) -> set[str]:
    """Return the first name of each module that a file imports, anywhere in the file."""
    names = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("room", MAY_ASK)
def test_a_room_asks_only_those_that_it_may(room):
    rooms = {file.parent.name for file in ROOT.glob("*/*.py")}
    files = list((ROOT / room).rglob("*.py"))
    others = {file.name: imported(file) & rooms - {room} - MAY_ASK[room] for file in files}
    assert files and {file: asked for file, asked in others.items() if asked} == {}


@pytest.mark.parametrize("folder", ["docs", "slides"])
def test_sphinx_leaves_out_the_parts_of_the_deck_and_no_page(folder):
    excluded = runpy.run_path(str(ROOT / "conf.py"))["exclude_patterns"]
    found = Project(ROOT / folder, {".rst": "restructuredtext"}).discover(excluded)
    pages = {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*.rst")}
    parts = {path for path in pages if folder == "slides" and path.parts[0] == "parts"}
    assert found == {path.with_suffix("").as_posix() for path in pages - parts}
    assert parts or folder == "docs"
