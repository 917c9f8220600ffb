"""Hands the site, the deck and the READMEs to Sybil, as pages that run; and all to its workers."""

import pytest
from sybil import Sybil
from xdist.scheduler import LoadScopeScheduling

from livedocs.pages import PARSERS, Page

pytest_plugins = ["livedocs.record"]

pytest_collect_file = Sybil(PARSERS, pattern="*.rst", document_types={".rst": Page}).pytest()

# Files of tests of which each takes long, so that each worker may have some.
SHARED_OUT = ("test_examples.py", "test_browser.py", "test_recipes.py")


def pytest_collection_modifyitems(items):
    """The longest first, so that no worker is left with one when the others have done."""

    def length(item):
        if item.path.name in SHARED_OUT:
            return 2000
        # On a page, nearly all of the time goes to the commands: each starts Django. A file of
        # tests starts many; short pages come last, as they fill what is left best.
        return item.path.read_text().count("$ ") if item.path.suffix == ".rst" else 1000

    items.sort(key=length, reverse=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    config.option.loadscopereorder = False
    return Scheduler(config, log)


class Scheduler(LoadScopeScheduling):
    """A page stays with one worker, as its blocks build on each other; so does a file of tests."""

    def _split_scope(self, nodeid):
        file = nodeid.partition("::")[0]
        return nodeid if file.endswith(SHARED_OUT) else file
