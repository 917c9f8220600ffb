"""Sphinx, for the site (``docs/``, html) and for the deck (``slides/``, revealjs)."""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))

metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

project = "Multi-database Patterns in Django"
version = release = metadata["version"]
author = "the authors of Multi-database Patterns in Django"
project_copyright = f"2026, {author}"

extensions = ["livedocs.site", "sphinx_copybutton", "sphinx_revealjs"]
nitpicky = True

html_theme = "sphinx_rtd_theme"
html_title = project
html_show_sphinx = False
html_copy_source = False
html_static_path = ["docs/_static"]
html_css_files = ["site.css"]

# Commands and statements are copied, their prompts and output are not.
copybutton_prompt_text = r">>> |\.\.\. |\$ |> "
copybutton_prompt_is_regexp = True

revealjs_html_theme = "revealjs-simple"
revealjs_style_theme = "white"
revealjs_static_path = ["slides/_static"]
revealjs_css_files = ["slides.css"]
