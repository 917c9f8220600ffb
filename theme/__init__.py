"""The site's theme: sphinx-rtd-theme with its faults mended, and what a page says of itself.

A child of that theme in Sphinx's sense (``theme.toml``): its stylesheet stays, mended by
``static/site.css``; its templates, which ask for jQuery, give way to ``layout.html`` and
``search.html``. The deck has a theme of its own, and nothing here applies to it.
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

# RTD's scripts, 35 KB, are for the menu, its buttons and a scroll spy: site.js has these. Sphinx's
# marks each word of a query on the page that is opened: 160 on a page are of no help.
UNUSED_SCRIPTS = {
    "jquery.js",
    "_sphinx_javascript_frameworks_compat.js",
    "sphinx_highlight.js",
}
# Of no use on a page without code; copybutton.css has its few needed rules in site.css.
SCRIPTS_FOR_CODE = {"clipboard.min.js", "copybutton.js"}
UNUSED_STYLES = {"copybutton.css"}


def set_up_builder(app: Sphinx) -> None:
    if app.builder.name != "html":
        # A deck needs no page to say that a page is missing.
        for listener in list(app.events.listeners["html-collect-pages"]):
            if listener.handler is notfound.extension.html_collect_pages:
                app.disconnect(listener.id)
        return
    app.config.html_permalinks_icon = "#"  # The RTD theme set a glyph of FontAwesome.
    # A reader's setting chooses the colours of code, without another request.
    light = app.builder.highlighter.get_stylesheet()
    dark = PygmentsBridge("html", DARK).get_stylesheet()
    app.builder.highlighter.get_stylesheet = lambda: (
        f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
    )


def note_summary(app: Sphinx, doctree: nodes.document) -> None:
    """Keep what the page is about: its description to search engines, and in lists of pages.

    That is what its box says first, or its first paragraph.
    """
    boxes = (node for node in doctree.findall(nodes.definition_list) if "glance" in node["classes"])
    box = next(boxes, None)
    paragraphs = (p for p in doctree.findall(nodes.paragraph) if type(p.parent) is nodes.section)
    said = next(box.findall(nodes.paragraph)) if box else next(paragraphs, nodes.paragraph())
    text = " ".join(said.astext().split())
    app.env.metadata[app.env.docname]["summary"] = shorten(text, 200, placeholder="…")


def made_for(app: Sphinx, page: str) -> str:
    """The site's version, and for which Django it is: what the page ran on, else what any did."""
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
    # Code that scrolls can be reached, and scrolled, by keyboard.
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
    # In the page itself: not a request, nor a 404 when a page is opened from a folder.
    context["favicon"] = "data:image/svg+xml," + quote(
        (FOLDER / "static/favicon.svg").read_text().strip()
    )


def contents(toc: str) -> str:
    """The sections of a page, to stand below its title: Sphinx has them below a link to it."""
    sections = toc.partition("</a>")[2].rpartition("</li>")[0].strip()
    return (
        '<nav class="toc" aria-label="On this page"><details><summary>On this page '
        f'<span class="here"></span></summary>{sections}</details></nav>'
    )


def drop_fonts(app: Sphinx, exception: Exception | None) -> None:
    """Remove the RTD theme's fonts, 9 MB: a browser asks for them until it has ``site.css``."""
    if exception or app.builder.name != "html":
        return
    styles = app.outdir / "_static" / "css" / "theme.css"
    styles.write_text(re.sub(r"@font-face *\{[^}]*\}", "", styles.read_text()))
    for fonts in ("css/fonts", "fonts"):
        shutil.rmtree(app.outdir / "_static" / fonts, ignore_errors=True)


def list_pages(app: Sphinx, exception: Exception | None) -> None:
    """Write ``sitemap.xml`` and ``robots.txt``, from all pages, whichever this build wrote.

    Both take absolute addresses, and are removed where the site has none.
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
    # After the extensions and the RTD theme, which add the files that are dropped here.
    app.connect("html-page-context", add_context, priority=900)
    app.connect("build-finished", drop_fonts)
    app.connect("build-finished", list_pages)
    app.setup_extension("theme.files")
    app.setup_extension("theme.glance")
    app.setup_extension("theme.search")
    app.setup_extension("theme.markdown")
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 1}
