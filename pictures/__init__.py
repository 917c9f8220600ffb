"""The Sphinx extension that draws what a page shows, as SVG in the page, when the site is built.

`topology` draws a project's databases, from what `routes` is told by its settings and routers;
`timeline` draws what a page's blocks did to its databases, as `livedocs` noted it while they ran;
`decisions` draws a path of questions; `svg` is what they share.
"""

from sphinx.application import Sphinx

from pictures.decisions import Decisions
from pictures.svg import drawing, write_svg
from pictures.timeline import Timeline, draw_timelines, timeline
from pictures.topology import Topology


def setup(app: Sphinx) -> dict:
    app.add_node(drawing, html=(write_svg, None))
    app.add_directive("topology", Topology)
    app.add_directive("decisions", Decisions)
    app.add_node(timeline)
    app.add_directive("timeline", Timeline)
    app.connect("doctree-resolved", draw_timelines)
    return {"env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
