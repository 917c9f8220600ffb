"""A page that runs in the reader's own browser: the button, and the files that it needs.

The page's HTML is the source of the blocks. ``static/live.js`` sends them to a worker, in which
Pyodide runs ``runner`` with Django and a copy of the page's project. Nothing of this is
fetched before the reader presses the button.
"""

from html import escape

from sphinx.application import Sphinx
from sphinx.util.osutil import relative_uri

from live import bundles
from livedocs.session import NEW, ROOT
from livedocs.zips import taken_by, zip_path

#: The folder of the files on the site.
FOLDER = "_static/live"
BUTTON = (
    '<div id="live" class="live"{data}><button type="button">Run this page here</button> '
    "<span>Django runs in your browser. Change a block, and run it "
    "again.</span></div>"
)
ABSENT = '<p id="live" class="live">This page does not run in a browser, because {why}.</p>'


def write_files(app: Sphinx) -> None:
    if app.builder.name == "html" and bundles.available():
        bundles.write(app.outdir / FOLDER)


def offer(app: Sphinx, page: str, template: str, context: dict, doctree) -> None:
    """Put the button below the title of a page that has a project, and blocks that ran on SQLite.

    A page that can't run in a browser says why in its first lines: ``:not-here: it uses threads``.
    The test of the built site presses each button.
    """
    fields = app.env.metadata.get(page, {})
    runs = "project" in fields and "on-sqlite" in context.get("body", "")
    if app.builder.name != "html" or not runs or not bundles.available():
        return
    html = ABSENT.format(why=escape(fields.get("not-here", "")))
    if "not-here" not in fields:
        values = data(app, page, fields["project"])
        html = BUTTON.format(data="".join(f' data-{k}="{escape(v)}"' for k, v in values.items()))
    title, end, rest = context["body"].partition("</h1>")
    context["body"] = title + end + html + rest


def data(app: Sphinx, page: str, project: str) -> dict[str, str]:
    """Return what the script has to know: the project, and the files to fetch, with their size."""
    text = (ROOT / "docs" / f"{page}.rst").read_text()
    taken = taken_by(text) if project == NEW else [project]
    packages = ["django.zip", "runner.zip"] + ["pytest.zip"] * ("-m pytest" in text)
    folder = app.outdir / FOLDER
    files = [folder / name for name in [*bundles.PYODIDE, *packages]]
    return {
        "project": "page" if project == NEW else project,
        "zips": " ".join(relative_uri(f"{FOLDER}/live.js", zip_path(name)) for name in taken),
        "packages": " ".join(packages),
        "bytes": str(sum(file.stat().st_size for file in files if file.suffix != ".mjs")),
    }


def setup(app: Sphinx) -> dict:
    app.connect("builder-inited", write_files)
    app.connect("html-page-context", offer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
