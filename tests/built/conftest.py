"""The built site, and a browser that opens it."""

from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from live.browser import ARGUMENTS, Handler, find_chromium, serving

ROOT = Path(__file__).parents[2]


#: What the strictest hosts allow. Without wasm-unsafe-eval there is no WebAssembly.
POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' data:"
POLICY += "; style-src 'self' 'unsafe-inline'"


class Host(Handler):
    def end_headers(self):
        # The tests of the deck wait for JavaScript that they give as a text, which needs eval.
        if not self.path.startswith("/slides/"):
            self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()


@pytest.fixture(scope="session")
def site():
    """The address of the built site, without a final slash. The deck is in ``/slides``.

    The server sends a strict Content-Security-Policy with all pages but the deck.
    """
    folder = ROOT / "_build" / "site"
    if not (folder / "index.html").exists():
        pytest.fail("there is no built site: run make site first")
    with serving(folder, Host) as address:
        yield address


@pytest.fixture(scope="session")
def chromium():
    """Playwright's Chromium, and the options to start it. Without Chromium the test is skipped."""
    executable = find_chromium()
    if executable is None:
        pytest.skip("no Chromium to look at the site with: on Debian, apt install chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium, {"executable_path": executable, "args": ARGUMENTS}


@pytest.fixture(scope="session")
def browser(chromium):
    kind, options = chromium
    browser = kind.launch(**options)
    yield browser
    browser.close()


@pytest.fixture
def open_page(browser, site):
    """Open a page: ``open_page("/glossary.html", width=390, dark=True)``. Its errors are collected.

    The page has ``errors``, its exceptions and console messages, and ``requests``, the addresses
    that it requested.
    """
    contexts = []

    def open_page(path, width=1280, height=900, dark=False, **options):
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.errors, page.requests = [], []
        page.on("console", lambda said: said.type == "error" and page.errors.append(said.text))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(site + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
