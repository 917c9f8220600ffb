"""Makes Sybil run the site, the deck and the READMEs, and distributes all tests to workers."""

import pytest
from sybil import Sybil
from xdist.scheduler import LoadScopeScheduling

from livedocs.pages import PARSERS, Page

pytest_plugins = ["livedocs.record"]

pytest_collect_file = Sybil(PARSERS, pattern="*.rst", document_types={".rst": Page}).pytest()

# Files with slow tests: these tests are distributed to several workers.
SHARED_OUT = ("test_examples.py", "test_browser.py", "test_live.py", "test_recipes.py")


def pytest_collection_modifyitems(items):
    """Run the longest first, so that no worker still runs a long one when the others are done."""

    def length(item):
        if item.path.name in SHARED_OUT:
            return 2000
        # Most of a page's time is its commands, because each starts Django. A file of tests starts
        # many commands. Short pages come last, because they fill the remaining time best.
        return item.path.read_text().count("$ ") if item.path.suffix == ".rst" else 1000

    items.sort(key=length, reverse=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    config.option.loadscopereorder = False
    return Scheduler(config, log)


class Scheduler(LoadScopeScheduling):
    """A page runs on one worker, as its blocks depend on each other. So does a file of tests."""

    def _split_scope(self, nodeid):
        file = nodeid.partition("::")[0]
        return nodeid if file.endswith(SHARED_OUT) else file
