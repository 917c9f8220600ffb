"""How the deck looks, as a Sphinx extension: its theme is this folder."""

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator
from sphinx_revealjs._ext.notes import revealjs_notes


def step_captioned_code(app: Sphinx, doctree: nodes.document) -> None:
    """Let code with a caption be shown in steps.

    sphinx-revealjs notes the steps on what its directive returns, which is then the caption's
    container, and looks for them on the code.
    """
    for container in doctree.findall(nodes.container):
        if "data-line-numbers" in container:
            for code in container.findall(nodes.literal_block):
                code["data-line-numbers"] = container["data-line-numbers"]


def open_notes(writer: HTML5Translator, notes: revealjs_notes) -> None:
    """Begin a slide's notes, and go on to their paragraphs: sphinx-revealjs's own run together."""
    writer.body.append('<aside class="notes">')


def close_notes(writer: HTML5Translator, notes: revealjs_notes) -> None:
    writer.body.append("</aside>")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_theme("deck", str(Path(__file__).parent))
    app.connect("doctree-read", step_captioned_code)
    app.add_node(revealjs_notes, override=True, revealjs=(open_notes, close_notes))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
