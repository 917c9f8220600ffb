"""An exercise of a page: a task, a file to change, a check, and the solution.

.. code-block:: rst

   .. exercise:: A database for the sessions

      Change the router, so that … Then the check prints ``sessions``.

      .. code-block:: python
         :caption: shop/routers.py

         (the file before the change)

      >>> Session.objects.db
      'default'

      .. solution::

         .. code-block:: python
            :caption: shop/routers.py

            (the file after the change)

         >>> Session.objects.db
         'sessions'

All blocks run with the page, so it is proven that the check fails before the change and passes
after it. In a browser (``live/``), the reader changes the file, and the output of the check is
compared with the output in the solution.
"""

from doctest import DocTestParser

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from livedocs.site import is_block


class exercise(nodes.General, nodes.Element):
    pass


class solution(nodes.General, nodes.Element):
    pass


class Exercise(SphinxDirective):
    has_content = True
    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        self.assert_has_content()
        whole = exercise("", nodes.paragraph("", self.arguments[0], classes=["exercise-title"]))
        whole += self.parse_content_to_nodes()
        if not isinstance(whole[-1], solution):
            raise self.error(
                "an exercise ends with its solution: add .. solution:: as the last part of the "
                "exercise, with the same indentation as the blocks above it"
            )
        solved = list(whole[-1].findall(is_block))
        asked = [block for block in whole.findall(is_block) if block not in solved]
        if len(asked) < 2 or len(asked) != len(solved):
            raise self.error(
                f"an exercise has a file to change and a check, and its solution repeats both: "
                f"there are {len(asked)} blocks before the solution, and {len(solved)} in it"
            )
        if not questions(asked[-1]) or questions(asked[-1]) != questions(solved[-1]):
            raise self.error(
                "the last block before the solution and the last block of the solution are the "
                "same check: copy the lines with >>> or $ into the solution, and change only the "
                "output"
            )
        if asked[-1].astext() == solved[-1].astext():
            raise self.error(
                "the check prints the same before and after the change: write a check whose "
                "output the solution changes"
            )
        return [whole]


class Solution(SphinxDirective):
    has_content = True

    def run(self) -> list[nodes.Node]:
        self.assert_has_content()
        return [solution("", *self.parse_content_to_nodes())]


def questions(block: nodes.Element) -> list[str]:
    """Return what a check runs: its statements, or the lines of its commands."""
    text = block.astext()
    statements = [example.source for example in DocTestParser().get_examples(text)]
    return statements or [line for line in text.splitlines() if line.startswith(("$ ", "> "))]


def visit_exercise(translator, node: exercise) -> None:
    translator.body.append(translator.starttag(node, "div", CLASS="exercise"))


def depart_exercise(translator, node: exercise) -> None:
    translator.body.append("</div>\n")


def visit_solution(translator, node: solution) -> None:
    translator.body.append(translator.starttag(node, "details", CLASS="solution"))
    translator.body.append("<summary>Solution</summary>\n")


def depart_solution(translator, node: solution) -> None:
    translator.body.append("</details>\n")


def setup(app: Sphinx) -> dict:
    app.add_node(exercise, html=(visit_exercise, depart_exercise))
    app.add_node(solution, html=(visit_solution, depart_solution))
    app.add_directive("exercise", Exercise)
    app.add_directive("solution", Solution)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
