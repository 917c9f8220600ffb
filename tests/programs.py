"""Runs Python programs for these tests, in processes that have imported most modules already."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

FILE = Path(__file__).parents[1] / "examples/functional/tests/processes.py"
_spec = spec_from_file_location("processes", FILE)
_spec.loader.exec_module(_processes := module_from_spec(_spec))

#: For programs with Django.
django = _processes.python
#: For pytest and Sphinx, whose imports would take a second each.
pytest_and_sphinx = _processes.Processes(
    "docutils.parsers.rst.states",
    "docutils.writers.html5_polyglot",
    "pygments.formatters.html",
    "pygments.lexers.python",
    "pytest",
    "_pytest.unittest",
    "sphinx.builders.html",
    "sphinx.cmd.build",
    "sphinx.ext.autodoc",
    "sphinx_revealjs",
    "sphinx_rtd_theme",
    "sybil.integration.pytest",
)
