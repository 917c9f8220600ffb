"""The design of the deck, as a Sphinx extension. The theme is this folder."""

import re
from pathlib import Path
from textwrap import dedent

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator
from sphinx_revealjs._ext.notes import revealjs_notes

#: The characters in a line of a slide, in the smallest code. Longer lines continue below.
COLUMNS = 80
#: Pygments' classes that deck.css has a style for. The others are left out.
LOOKS = "k kc kn kd ow s s1 s2 sa sd si sr m mi mf nf nc gr c1 gp gt"


def site(name, rawtext, text, lineno, inliner, options=None, content=None):
    """The role ``:site:`The site` `` links to the site; `say_address` adds the address."""
    return [nodes.reference(rawtext, text, refuri="../index.html", classes=["site"])], []


def say_address(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Add the site's address, if there is one, after each link to the site.

    On a screen in a room, or on paper, a link can't be followed.
    """
    for link in list(doctree.findall(nodes.reference)):
        if "site" in link["classes"] and app.config.html_baseurl:
            address = nodes.Text(f" ({app.config.html_baseurl})")
            link.parent.insert(link.parent.index(link) + 1, address)


def step_captioned_code(app: Sphinx, doctree: nodes.document) -> None:
    """Allow steps in code with a caption.

    sphinx-revealjs writes the steps to the node that the directive returns, which is the caption's
    container, but reads them from the code.
    """
    for container in doctree.findall(nodes.container):
        if "data-line-numbers" in container:
            for code in container.findall(nodes.literal_block):
                code["data-line-numbers"] = container["data-line-numbers"]


def write_code(writer: HTML5Translator, code: nodes.literal_block) -> None:
    """Write code with its colours in it, so that the page needs no script that finds them."""
    source = dedent(code.astext()).rstrip("\n")
    if "uncommented" in code["classes"]:  # The speaker explains the code instead.
        source = re.sub(r"^ *# .*\n|  # .*$", "", source, flags=re.MULTILINE)
    written = writer.highlighter.highlight_block(source, code["language"], location=code)
    inner = re.search(r"<pre>(?:<span></span>)?(.*)</pre>", written, re.DOTALL)[1]
    inner = re.sub(
        r'<span class="(\w+)">([^<]*)</span>',
        lambda span: span[0] if span[1] in LOOKS.split() else span[2],
        inner,
    )
    lines = [
        long_line(html, len(line) - len(line.lstrip())) if len(line) > COLUMNS else f"{html}\n"
        for html, line in zip(inner.splitlines(), source.splitlines(), strict=True)
    ]
    steps = code.get("data-line-numbers", "")
    writer.body.append(
        f'<pre class="stepped">{"".join(in_steps(lines, steps))}</pre>\n'
        if steps
        else f"<pre>{''.join(lines)}</pre>\n"
    )
    raise nodes.SkipNode


def long_line(html: str, indent: int) -> str:
    """A line that goes on below, where it begins four characters further in."""
    return f'<span class="long" style="--indent: {indent + 4}ch">{html}\n</span>'


def in_steps(lines: list[str], steps: str) -> list[str]:
    """The lines, with those of each step in an element; each step but the first is a fragment.

    Steps are written "2-3|5", as for reveal.js's own plugin. Here they follow the lines' order.
    """
    shown, after = [], 0
    for number, step in enumerate(steps.split("|")):
        first, _, last = step.partition("-")
        first, last = int(first), int(last or first)
        kind = "step fragment custom" if number else "step"
        shown += [
            f'<span class="rest">{"".join(lines[after : first - 1])}</span>',
            f'<span class="{kind}">{"".join(lines[first - 1 : last])}</span>',
        ]
        after = last
    return [*shown, f'<span class="rest">{"".join(lines[after:])}</span>']


def open_notes(writer: HTML5Translator, notes: revealjs_notes) -> None:
    """Begin a slide's notes, and go on to their paragraphs: sphinx-revealjs's own run together."""
    writer.body.append('<aside class="notes">')


def close_notes(writer: HTML5Translator, notes: revealjs_notes) -> None:
    writer.body.append("</aside>")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_theme("deck", str(Path(__file__).parent))
    app.add_role("site", site)
    app.connect("doctree-read", step_captioned_code)
    app.connect("doctree-resolved", say_address)
    app.add_node(revealjs_notes, override=True, revealjs=(open_notes, close_notes))
    app.add_node(nodes.literal_block, override=True, revealjs=(write_code, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
