"""Sphinx, for the site (``docs/``, html) and for the deck (``slides/``, revealjs)."""

import os
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent))

from theme import addresses

ROOT = Path(__file__).parent
metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

project = "Multi-database Patterns in Django"
version = release = metadata["version"]
author = "the authors of Multi-database Patterns in Django"
project_copyright = f"2026, {author}"

extensions = [
    "live",
    "livedocs.site",
    "pictures",
    "sphinx_copybutton",
    "sphinx_revealjs",
    "theme",
    "slides.deck",
    "benchmarks.figures",
    "benchmarks.plots",
]
nitpicky = True
exclude_patterns = ["parts"]  # slides/index.rst includes these files.

html_theme = "theme"
html_title = project
# The publisher sets these addresses: see docs/contributing.rst.
html_baseurl = addresses.site(os.environ)
html_context = {"edits": addresses.edits(os.environ, ROOT)}
html_js_files = ["site.js"]
html_copy_source = False
html_use_index = False  # The glossary is the index.
notfound_urls_prefix = urlsplit(html_baseurl).path or "/"

# The site as a book: make epub.
epub_basename = metadata["name"]
epub_description = metadata["description"]
epub_exclude_files = ["404.xhtml"]
epub_show_urls = "no"

# The copy button copies commands and statements, without prompts and output.
copybutton_prompt_text = r">>> |\.\.\.(?: |$)|\$ |> "
copybutton_prompt_is_regexp = True

revealjs_html_theme = "deck"
revealjs_static_path = ["theme/static/favicon.svg"]
revealjs_script_conf = {
    "width": 1280,
    "height": 720,
    "margin": 0,
    "center": False,
    "hash": True,
    "slideNumber": "c/t",
    "controlsTutorial": False,
    "transition": "none",
    "backgroundTransition": "none",
    # Seconds for a slide without its own timing, for the pace in the speaker view.
    "defaultTiming": 60,
    # In print, one page for each slide, with all of its steps.
    "pdfSeparateFragments": False,
}
