"""The folders of the checkout: what each holds, and which of the others it knows."""

import runpy
from pathlib import Path

import pytest
from sphinx.project import Project

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("folder", ["docs", "slides"])
def test_sphinx_leaves_out_the_parts_of_the_deck_and_no_page(folder):
    excluded = runpy.run_path(str(ROOT / "conf.py"))["exclude_patterns"]
    found = Project(ROOT / folder, {".rst": "restructuredtext"}).discover(excluded)
    pages = {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*.rst")}
    parts = {path for path in pages if folder == "slides" and path.parts[0] == "parts"}
    assert found == {path.with_suffix("").as_posix() for path in pages - parts}
    assert parts or folder == "docs"
