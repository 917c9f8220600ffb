"""The Sphinx extension that draws pictures as SVG in the pages, when the site is built.

`topology` draws a project's databases, from the answers of its settings and routers, which `routes`
collects. `timeline` draws what a page's blocks did to the databases, which `livedocs` recorded
while they ran. `decisions` draws a path of questions. `svg` is shared by all of them.

`hint_matrix` is a table, of what `hints` recorded.
"""

from sphinx.application import Sphinx

from pictures.decisions import Decisions
from pictures.hint_matrix import HintMatrix, HintSummary
from pictures.svg import drawing, write_svg
from pictures.timeline import Timeline, draw_timelines, timeline
from pictures.topology import Topology


def setup(app: Sphinx) -> dict:
    app.add_node(drawing, html=(write_svg, None))
    app.add_directive("topology", Topology)
    app.add_directive("decisions", Decisions)
    app.add_directive("hint-matrix", HintMatrix)
    app.add_directive("hint-summary", HintSummary)
    app.add_node(timeline)
    app.add_directive("timeline", Timeline)
    app.connect("doctree-resolved", draw_timelines)
    return {"env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
