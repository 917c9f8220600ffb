"""The Sphinx extension by which prose takes its figures from the results, and from nowhere else.

``:measured:`replication | index | with the index``` is the median wall time of that line of that
table of ``results/replication.json``, to two digits, with its unit: "1.6 ms". On a server it is
``:measured:`replication | postgresql | index | with the index```. With ``| times`` at the end it
is the ratio to the first line of the table: "1.1 times".
"""

import json

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

from benchmarks import HERE, SERVERS

logger = logging.getLogger(__name__)


class Measured(SphinxRole):
    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        pattern, *names = (part.strip() for part in self.text.split("|"))
        file = HERE / "results" / f"{pattern}.json"
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
            if names and names[0] in SERVERS:
                known = known[names.pop(0)]
            times = names[2:] == ["times"]
            table, line = names[:2] if times else names
            measured = known["results"][table]
            figures = measured["figures"][line]
            summary = figures["wall_ratio"] if times else figures.get("wall", figures)
            number = summary["median"]
        except (OSError, KeyError, ValueError) as error:
            problem = f"no such figure in benchmarks/results: {type(error).__name__} {error}"
            logger.warning("%s: %s", self.text, problem, location=self.get_location())
            return [], []
        self.env.note_dependency(str(file))
        unit = "times" if times else measured["unit"]
        text = f"{float(f'{number:.2g}'):,g}\N{NO-BREAK SPACE}{unit}"
        return [nodes.Text(text)], []


def setup(app: Sphinx) -> dict:
    app.add_role("measured", Measured())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
