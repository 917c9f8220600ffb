"""The ``decisions`` directive draws a path of questions, each with what to do for yes."""

import re
import textwrap

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from pictures.svg import STYLE, Picture, cleaned, figure, lay_out, quoted

STEP = re.compile(r"(.+\?)\s+(.+)")
QUESTION, ANSWER = 21, 15  # Letters in a line: both columns fit on a phone, in full size.


class Decisions(SphinxDirective):
    """``.. decisions:: Its title``, and a line for each step: ``Is it so? What to do then``.

    "No" leads to the next line. The last line is not a question: it says what to do if all answers
    are no. The answers below an empty line are databases, and are drawn as databases.
    """

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        self.assert_has_content()
        *lines, rest = self.content
        steps, shape = [], "box"
        for line in lines:
            if not line:
                shape = "cylinder"
            elif step := STEP.fullmatch(line):
                steps.append((*step.groups(), shape))
            else:
                raise self.error(
                    f"a step is a line with a question? and what to do, and this is not: {line}"
                )
        words = [f"{question} If so: {answer}." for question, answer, _ in steps]
        width, height, graph = lay_out(dot(steps, rest))
        picture = Picture(
            self.arguments[0],
            f"{' '.join(words)} If all answers are no: {rest}",
            width,
            height,
            cleaned(graph),
        )
        return [figure(self.env, picture, "decisions")]


def dot(steps: list[tuple[str, str, str]], rest: str) -> str:
    """The drawing, in Graphviz's language: a column of questions, and next to it the answers."""
    lines = [f'q{len(steps)} [shape=box style="rounded" label={wrapped(rest, QUESTION)}]']
    for number, (question, answer, shape) in enumerate(steps):
        lines += [
            f'q{number} [shape=box style="rounded" label={wrapped(question, QUESTION)}]',
            f"a{number} [shape={shape} label={wrapped(answer, ANSWER)}]",
            f'{{ rank=same; q{number} -> a{number} [label=" yes "] }}',
            f'q{number} -> q{number + 1} [label=" no" weight=9]',
        ]
    column = " -> ".join(f"a{number}" for number in range(len(steps)))
    lines.append(f"{column} [style=invis weight=9]")
    return "\n".join(["digraph {", STYLE, "ranksep=0.25", *lines, "}"])


def wrapped(text: str, width: int) -> str:
    return quoted(*textwrap.wrap(text, width))
