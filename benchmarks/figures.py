"""The Sphinx extension that writes figures from the results into the pages.

``:measured:`replication | index | with the index``` is the median wall time of that table and line
of ``results/replication.json``, with two digits and the unit: "1.6 ms". For a server, write
``:measured:`replication | postgresql | index | with the index```. With ``| best`` at the end, the
figure is the best round, which other processes have disturbed least. With ``| p95``, it is the
figure that 95 % of the rounds do not exceed. With ``| times``, it is the median ratio to the first
line of the table, round by round: "1.1 times".
"""

import json

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

from benchmarks import HERE, SERVERS

logger = logging.getLogger(__name__)


def figure(line: dict, unit: str, of: str = "median") -> float:
    """Return a line's median, best round, p95 or ratio. Raises KeyError for another word."""
    if of == "times":
        return line["wall_ratio"]["median"]
    best = "max" if unit.endswith("/s") else "min"
    return line.get("wall", line)[{"median": "median", "best": best, "p95": "p95"}[of]]


class Measured(SphinxRole):
    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        pattern, *names = (part.strip() for part in self.text.split("|"))
        file = HERE / "results" / f"{pattern}.json"
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
            if names and names[0] in SERVERS:
                known = known[names.pop(0)]
            table, line, *of = names
            measured = known["results"][table]
            unit = "times" if of == ["times"] else measured["unit"]
            number = figure(measured["figures"][line], unit, *of)
        except (OSError, KeyError, TypeError, ValueError) as error:
            problem = f"no such figure in benchmarks/results: {type(error).__name__} {error}"
            logger.warning("%s: %s", self.text, problem, location=self.get_location())
            return [], []
        self.env.note_dependency(str(file))
        rounded = float(f"{number:.2g}")
        digits = f"{rounded:.1f}" if unit == "times" and 1 <= rounded < 10 else f"{rounded:,g}"
        text = f"{digits}\N{NO-BREAK SPACE}{unit}"
        return [nodes.Text(text)], []


def setup(app: Sphinx) -> dict:
    app.add_role("measured", Measured())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
