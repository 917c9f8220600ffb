"""Each page that offers it runs in a browser: every block prints there what the page shows."""

import io
import re
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from looks import audit

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "site"
BUTTON = re.compile('<div id="live"[^>]* data-')
PAGES = sorted(
    path.relative_to(SITE).as_posix()
    for path in SITE.rglob("*.html")
    if BUTTON.search(path.read_text())
)
#: What the strictest hosts allow. Without wasm-unsafe-eval there is no WebAssembly.
POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' data:"
POLICY += "; style-src 'self' 'unsafe-inline'"
#: For each page with blocks that a browser can't run, the reason for each of these blocks.
NOT_HERE: dict[str, list[str]] = {}
#: A page that runs in a few seconds, with files, queries, commands and an exercise.
PAGE = "/patterns/functional.html"
MINUTES = 60_000  # Milliseconds
SHIFT = """new Promise((done) => new PerformanceObserver((list) => done(list.getEntries()
    .filter((entry) => !entry.hadRecentInput).reduce((sum, entry) => sum + entry.value, 0)))
    .observe({type: "layout-shift", buffered: true}) || setTimeout(() => done(0), 200))"""


class Host(SimpleHTTPRequestHandler):
    def end_headers(self):
        self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_message(self, format, *arguments):
        pass


@pytest.fixture(scope="session")
def site():
    """The address of the site on a server with a strict Content-Security-Policy."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Host, directory=SITE))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="session")
def context(browser):
    """One for all pages of this process, so that Python is fetched and compiled once."""
    context = browser.new_context(accept_downloads=True)
    yield context
    context.close()


@pytest.fixture
def live(context, site):
    """Open a page, press its button, and wait until its blocks have run."""
    pages = []

    def live(path, wait=True, **size):
        page = context.new_page()
        pages.append(page)
        page.errors, page.hosts = [], set()
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda said: said.type == "error" and page.errors.append(said.text))
        page.on("request", lambda request: page.hosts.add(request.url.split("/", 3)[2]))
        page.set_viewport_size({"width": 1280, "height": 900} | size)
        page.goto(site + path)
        page.click("#live > button")
        if wait:
            ready(page)
        return page

    yield live
    for page in pages:
        page.close()


def ready(page):
    page.wait_for_selector("html[data-live=ready]", timeout=3 * MINUTES, state="attached")


def verdicts(page) -> list[tuple[str, str]]:
    """Return the kind and the text of each block's result."""
    found = page.locator(".live-verdict").evaluate_all("them => them.map(it => [it.dataset.kind, it.textContent])")
    return [(kind, text) for kind, text in found]


def write(page, number: int, text: str) -> None:
    """Replace the text of a block, as a reader does by keyboard."""
    block = page.locator(f"#live-{number}")
    block.focus()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(text)


def number_of(page, text: str) -> int:
    """Return the number of the first block that has this text."""
    return int(page.locator("pre[role=textbox]", has_text=text).first.get_attribute("id")[5:])


@pytest.mark.parametrize("path", PAGES)
def test_every_block_prints_here_what_the_page_shows(live, path):
    page = live(f"/{path}")
    found = verdicts(page)
    outputs = page.locator(".live-output").all_text_contents()
    wrong = [(text, out) for (kind, text), out in zip(found, outputs, strict=True) if kind not in ("right", "absent")]
    assert found and wrong == [], page.text_content("#live-status")
    absent = [text.partition("not here: ")[2] for kind, text in found if kind == "absent"]
    assert absent == NOT_HERE.get(path, [])
    assert page.errors == []
    assert len(page.hosts) == 1
    assert page.evaluate(SHIFT) < 0.001
