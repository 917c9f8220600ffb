"""The site's theme: sphinx-rtd-theme with corrections, and the descriptions of the pages.

It is a child of that theme, in Sphinx's sense (``theme.toml``). The stylesheet is kept, with
corrections in ``static/site.css``. The templates, which need jQuery, are replaced by
``layout.html`` and ``search.html``. The deck has another theme, so nothing here applies to it.
"""

import re
import shutil
from pathlib import Path
from textwrap import shorten
from urllib.parse import quote, urljoin

import notfound.extension
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.highlighting import PygmentsBridge

FOLDER = Path(__file__).parent
DARK = "a11y-high-contrast-dark"

# RTD's scripts (35 KB) are for the menu, its buttons and a scroll spy, which site.js has too.
# Sphinx's script marks each word of a query on the opened page: 160 marks on a page do not help.
UNUSED_SCRIPTS = {
    "jquery.js",
    "_sphinx_javascript_frameworks_compat.js",
    "sphinx_highlight.js",
}
# Not needed on a page without code. The few rules of copybutton.css that we need are in site.css.
SCRIPTS_FOR_CODE = {"clipboard.min.js", "copybutton.js"}
UNUSED_STYLES = {"copybutton.css"}


def set_up_builder(app: Sphinx) -> None:
    if app.builder.name != "html":
        # A deck needs no 404 page.
        for listener in list(app.events.listeners["html-collect-pages"]):
            if listener.handler is notfound.extension.html_collect_pages:
                app.disconnect(listener.id)
        return
    app.config.html_permalinks_icon = "#"  # In place of the RTD theme's icon of FontAwesome.
    # The colours of code depend on the reader's setting, without another request.
    light = app.builder.highlighter.get_stylesheet()
    dark = PygmentsBridge("html", DARK).get_stylesheet()
    app.builder.highlighter.get_stylesheet = lambda: (
        f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
    )


def note_summary(app: Sphinx, doctree: nodes.document) -> None:
    """Store the page's description, for search engines and for lists of pages.

    This is the first row of the page's box, or the first paragraph.
    """
    boxes = (node for node in doctree.findall(nodes.definition_list) if "glance" in node["classes"])
    box = next(boxes, None)
    paragraphs = (p for p in doctree.findall(nodes.paragraph) if type(p.parent) is nodes.section)
    said = next(box.findall(nodes.paragraph)) if box else next(paragraphs, nodes.paragraph())
    text = " ".join(said.astext().split())
    app.env.metadata[app.env.docname]["summary"] = shorten(text, 200, placeholder="…")


def made_for(app: Sphinx, page: str) -> str:
    """The site's version, and the versions of Django on which this page ran, or else any page."""
    record = app.config.livedocs_record if "livedocs_record" in app.config else {}
    djangos = ({run["django"] for run in runs.values()} for runs in record.values())
    ran = {run["django"] for run in record.get(f"docs/{page}.rst", {}).values()}
    versions = sorted({re.match(r"\d+\.\d+", it)[0] for it in ran or set().union(*djangos)})
    text = f"Version {app.config.version}"
    if versions:
        text += f", for Django {' and '.join(versions)}"
    return f"{text}, with which this page was run" if ran else text


def add_context(app: Sphinx, pagename: str, template: str, context: dict, doctree) -> None:
    if app.builder.name != "html":
        return
    body = context.get("body", "")
    has_code = 'class="highlight"' in body
    # So that code can be reached, and scrolled, by keyboard.
    body = body.replace("<pre>", '<pre tabindex="0">')
    if context.get("display_toc"):
        body = body.replace("</h1>", "</h1>\n" + contents(context["toc"]), 1)
    context["body"] = body
    unused = UNUSED_SCRIPTS if has_code else UNUSED_SCRIPTS | SCRIPTS_FOR_CODE
    context["script_files"] = [
        script for script in context["script_files"] if Path(script.filename).name not in unused
    ]
    unused = UNUSED_STYLES if has_code else UNUSED_STYLES | {"pygments.css"}
    context["css_files"] = [
        style for style in context["css_files"] if Path(style.filename).name not in unused
    ]
    context["made_for"] = made_for(app, pagename)
    if pagename in app.env.found_docs and pagename != app.config.notfound_pagename:
        context["markdown"] = f"{Path(pagename).name}.md"
    # In the page itself: no request, and no 404 if the page is opened from a folder.
    context["favicon"] = "data:image/svg+xml," + quote(
        (FOLDER / "static/favicon.svg").read_text().strip()
    )


def contents(toc: str) -> str:
    """The list of a page's sections, for the place below the title."""
    sections = toc.partition("</a>")[2].rpartition("</li>")[0].strip()
    return (
        '<nav class="toc" aria-label="On this page"><details><summary>On this page '
        f'<span class="here"></span></summary>{sections}</details></nav>'
    )


def drop_fonts(app: Sphinx, exception: Exception | None) -> None:
    """Remove the RTD theme's fonts (9 MB). A browser asks for them until it has ``site.css``."""
    if exception or app.builder.name != "html":
        return
    styles = app.outdir / "_static" / "css" / "theme.css"
    styles.write_text(re.sub(r"@font-face *\{[^}]*\}", "", styles.read_text()))
    for fonts in ("css/fonts", "fonts"):
        shutil.rmtree(app.outdir / "_static" / fonts, ignore_errors=True)


def list_pages(app: Sphinx, exception: Exception | None) -> None:
    """Write ``sitemap.xml`` and ``robots.txt`` for all pages, also those of earlier builds.

    Both need absolute addresses. Without a site's address, they are removed.
    """
    if exception or app.builder.name != "html":
        return
    base = app.config.html_baseurl
    if not base:
        for name in ("sitemap.xml", "robots.txt"):
            (app.outdir / name).unlink(missing_ok=True)
        return
    pages = sorted(app.env.found_docs - {app.config.notfound_pagename})
    urls = "".join(
        f"<url><loc>{urljoin(base, app.builder.get_target_uri(page))}</loc></url>\n"
        for page in pages
    )
    (app.outdir / "sitemap.xml").write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{urls}</urlset>\n'
    )
    (app.outdir / "robots.txt").write_text(
        f"User-agent: *\nAllow: /\nSitemap: {urljoin(base, 'sitemap.xml')}\n"
    )


def setup(app: Sphinx) -> dict:
    app.setup_extension("notfound.extension")
    app.add_html_theme("theme", str(FOLDER))
    app.connect("builder-inited", set_up_builder)
    app.connect("doctree-read", note_summary)
    # Runs after the extensions and the RTD theme, which add the files that are removed here.
    app.connect("html-page-context", add_context, priority=900)
    app.connect("build-finished", drop_fonts)
    app.connect("build-finished", list_pages)
    app.setup_extension("theme.files")
    app.setup_extension("theme.exercises")
    app.setup_extension("theme.glance")
    app.setup_extension("theme.traps")
    app.setup_extension("theme.search")
    app.setup_extension("theme.markdown")
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 1}
