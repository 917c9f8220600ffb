"""Hands the site, the deck and the READMEs to Sybil, as pages that run."""

from sybil import Sybil

from livedocs.pages import PARSERS, Page

pytest_plugins = ["livedocs.record"]

pytest_collect_file = Sybil(PARSERS, pattern="*.rst", document_types={".rst": Page}).pytest()
