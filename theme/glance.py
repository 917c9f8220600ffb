"""The box at the top of a page: the subject, when to use it, when not, and the cost.

.. code-block:: rst

   .. glance::
      :what: Reads go to copies of the database, writes go to one primary.
      :when: The site reads much more than it writes.
      :not: A query is slow because it lacks an index.
      :cost: A copy is always a little behind.

``:when:``, ``:not:`` and ``:cost:`` may be left out. The time to read the page is calculated from
the number of words in prose, code, tables, and the first tab of each group. If a page has more
words than `MOST`, the build warns. An exercise is not counted: a reader may leave it out. A table
with the class ``data`` is not counted: a reader looks up a row there, and does not read the table.
"""

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from livedocs.site import engine_tab
from theme.exercises import exercise

logger = logging.getLogger(__name__)

#: Words that a reader reads in a minute: technical prose in a second language, with code.
SPEED = 200
#: The maximum number of words of a page.
MOST = 3500
ROWS = {"what": "What", "when": "When", "not": "When not", "cost": "Cost"}


class minutes(nodes.General, nodes.Element):
    """A placeholder for the time to read the page, until the whole page is parsed."""


class Glance(SphinxDirective):
    option_spec = dict.fromkeys(ROWS, directives.unchanged_required)

    def run(self) -> list[nodes.Node]:
        if "what" not in self.options:
            raise self.error("a glance needs :what:, which tells what the page is about")
        box = nodes.definition_list(classes=["glance"])
        for name, title in ROWS.items():
            if said := self.options.get(name):
                text, messages = self.parse_inline(" ".join(said.split()))
                box += row(title, nodes.paragraph("", "", *text, *messages))
        box += row("Time to read", nodes.paragraph("", "", minutes()))
        return [box]


def row(title: str, content: nodes.paragraph) -> nodes.definition_list_item:
    return nodes.definition_list_item("", nodes.term("", title), nodes.definition("", content))


def words_of(node: nodes.Node) -> int:
    """Return how many words a reader sees, with one tab of each group."""
    if isinstance(node, nodes.Text):
        return len(node.split())
    if isinstance(node, nodes.Invisible | exercise) or is_later_tab(node) or is_data(node):
        return 0
    return sum(map(words_of, node.children))


def is_data(node: nodes.Node) -> bool:
    return isinstance(node, nodes.table) and "data" in node["classes"]


def is_later_tab(node: nodes.Node) -> bool:
    return isinstance(node, engine_tab) and isinstance(node.previous_sibling(), engine_tab)


def say_minutes(app: Sphinx, doctree: nodes.document) -> None:
    for place in list(doctree.findall(minutes)):
        words = words_of(doctree)
        if words > MOST:
            problem = "a page may have %s words at most, and this page has %s: split it into two"
            logger.warning(
                problem, f"{MOST:,}", f"{words:,}", location=app.env.docname, type="theme"
            )
        number = max(1, round(words / SPEED))
        place.replace_self(nodes.Text(f"{number} minute{'s' * (number > 1)}"))


def setup(app: Sphinx) -> dict:
    app.add_node(minutes)
    app.add_directive("glance", Glance)
    app.connect("doctree-read", say_minutes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
