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
NOT_HERE = {
    "patterns/combining.html": ["it needs threads that run at the same time"],
    "patterns/shadowing-snapshot.html": ["it starts a process that runs beside others"],
    "patterns/shadowing.html": [
        "it needs the permissions of files",
        "it runs a command as another user",
    ],
    "recipes/read-replica.html": [
        "it starts a process that runs beside others",
        "it uses the command kill",
    ],
    "traps/migrations.html": ["it starts Python with other options"],
    "traps/shards.html": ["it starts Python with other options"] * 2,
    "traps/transactions.html": ["it needs threads that run at the same time"],
}
#: A page that runs in a few seconds, with files, queries, commands and an exercise.
PAGE = "/patterns/functional.html"
LONGEST = 180_000  # Milliseconds for a page
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
    page.wait_for_selector("html[data-live=ready]", timeout=LONGEST, state="attached")


def verdicts(page) -> list[tuple[str, str]]:
    """Return the kind and the text of each block's result."""
    found = page.locator(".live-verdict").evaluate_all(
        "them => them.map(it => [it.dataset.kind, it.textContent])"
    )
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
    wrong = [
        (text, out)
        for (kind, text), out in zip(found, outputs, strict=True)
        if kind not in ("right", "absent")
    ]
    assert found and wrong == [], page.text_content("#live-status")
    absent = [text.partition("not here: ")[2] for kind, text in found if kind == "absent"]
    assert absent == NOT_HERE.get(path, [])
    assert page.errors == []
    assert len(page.hosts) == 1
    assert page.evaluate(SHIFT) < 0.001


def test_most_pages_with_a_project_offer_it():
    assert len(PAGES) >= 45
    sentence = re.compile(r"does not run in a browser, because (.*?)\.<")
    why = [reason for path in SITE.rglob("*.html") for reason in sentence.findall(path.read_text())]
    assert why and all(len(reason.split()) > 3 for reason in why)


def test_a_change_is_seen_below_and_can_be_put_back(live):
    page = live("/routing.html")
    number = number_of(page, "def db_for_read(self, model, **hints):")
    assert page.get_attribute(f"#live-{number}", "aria-label").endswith(": you can change it")
    before = page.inner_text(f"#live-{number}")
    write(page, number, before.replace("def db_for_read(", "def db_for_reading("))
    assert (
        "changed, and not run since" in page.locator(".live-verdict").nth(number - 1).text_content()
    )
    page.locator(".live-row", has_text=f"Block {number}:").get_by_text("Run from here").click()
    ready(page)
    wrong = page.locator(".live-verdict[data-kind=wrong]")
    assert wrong.count() > 0
    assert "Not as on the page" in page.text_content("#live-status")
    output = wrong.first.evaluate(
        "it => document.getElementById(it.getAttribute('aria-controls')).textContent"
    )
    assert "\n- " in output
    page.locator(".live-row", has_text=f"Block {number}:").get_by_text("Put back").click()
    assert page.inner_text(f"#live-{number}") == before
    page.locator(".live-row", has_text=f"Block {number}:").get_by_text("Run from here").click()
    ready(page)
    assert {kind for kind, _ in verdicts(page)} == {"right"}


def test_an_error_leads_to_its_line(live):
    page = live(PAGE)
    number = number_of(page, ">>> Product.objects.count()")
    write(page, number, ">>> 1 + 1\n2\n>>> 1 / 0\n")
    page.keyboard.press("Control+Enter")
    ready(page)
    verdict = page.locator(".live-verdict").nth(number - 1)
    assert verdict.get_attribute("data-kind") == "wrong"
    verdict.click()
    output = page.locator(f"#live-output-{number}")
    assert "ZeroDivisionError: division by zero" in output.text_content()
    link = output.locator("a")
    assert link.text_content() == f'File "block {number}", line 3 (block {number})'
    link.click()
    assert page.evaluate("getSelection().toString()") == ">>> 1 / 0"
    assert page.evaluate("document.activeElement.id") == f"live-{number}"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.className") == "live-verdict"


def test_a_file_s_error_leads_to_the_block_of_the_file(live):
    page = live("/routing.html")
    number = number_of(page, "def db_for_read(self, model, **hints):")
    text = page.inner_text(f"#live-{number}")
    write(
        page,
        number,
        text.replace(
            "def db_for_read(self, model, **hints):",
            "def db_for_read(self, model, **hints):\n        raise RuntimeError(model)",
        ),
    )
    page.keyboard.press("Control+Shift+Enter")
    ready(page)
    links = page.locator(".live-output a", has_text="shop/routers.py").filter(
        has_text=f"(block {number})"
    )
    assert links.count() > 0


def test_an_endless_loop_can_be_stopped_and_the_changes_stay(live):
    page = live(PAGE)
    number = number_of(page, ">>> Product.objects.count()")
    write(page, number, ">>> while True: pass\n")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("html[data-live=running]", state="attached")
    page.get_by_role("button", name="Stop").click()
    page.wait_for_selector("html[data-live=closed]", state="attached")
    assert page.text_content("#live-status") == "Stopped. Your changes are still on the page."
    assert page.inner_text(f"#live-{number}").strip() == ">>> while True: pass"
    page.locator(".live-row", has_text=f"Block {number}:").get_by_text("Put back").click()
    page.get_by_role("button", name="Run the page").click()
    ready(page)
    assert {kind for kind, _ in verdicts(page)} == {"right"}


def test_the_databases_can_be_looked_into(live):
    page = live(PAGE)
    page.get_by_role("button", name="Databases").click()
    ready(page)
    panel = page.locator("#live-databases")
    assert panel.locator("> details > summary").all_text_contents() == ["default", "reviews"]
    table = panel.locator("details details", has_text="products_product").first
    assert re.match(r"products_product: \d+ rows?", table.locator("summary").text_content())
    table.locator("summary").click()
    assert "name" in table.locator("th").all_text_contents()
    assert not audit(page).violations_count


def test_the_project_can_be_downloaded_as_it_is_now(live):
    page = live(PAGE)
    number = number_of(page, "class FunctionalRouter")
    text = page.inner_text(f"#live-{number}")
    write(page, number, text.replace("class FunctionalRouter:", "class FunctionalRouter:  # mine"))
    page.get_by_role("button", name="Download").click()
    assert page.text_content("#live-status").startswith(f"Block {number} was changed after it ran")
    page.locator(f"#live-{number}").focus()
    page.keyboard.press("Control+Enter")
    ready(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "functional.zip"
    archive = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))
    assert b"class FunctionalRouter:  # mine" in archive.read("functional/shop/routers.py")
    assert "functional/manage.py" in archive.namelist()
    assert any(name.endswith(".sqlite3") for name in archive.namelist())


EXERCISES = [path for path in PAGES if 'class="exercise"' in (SITE / path).read_text()]


@pytest.mark.parametrize("path", EXERCISES)
def test_an_exercise_is_solved_by_its_solution_only(live, path):
    page = live(f"/{path}")
    assert "solved" not in page.text_content("#live-status")
    solution = page.locator(".exercise .solution pre").first.text_content()
    number = int(page.locator(".exercise pre[role=textbox]").first.get_attribute("id")[5:])
    write(page, number, solution)
    page.locator(".exercise .live-row").first.get_by_text("Check").click()
    ready(page)
    assert "The exercise is solved." in page.text_content("#live-status")


def test_the_patterns_have_exercises():
    assert EXERCISES == [
        "patterns/functional.html",
        "patterns/read-your-writes.html",
        "patterns/replication.html",
        "patterns/shadowing-rows.html",
        "patterns/shadowing.html",
        "patterns/sharding.html",
        "routing.html",
    ]


@pytest.mark.parametrize("width, dark", [(1440, False), (1280, True), (390, False), (390, True)])
def test_axe_finds_nothing_while_it_runs_and_after(live, width, dark):
    page = live(PAGE, wait=False, width=width)
    page.emulate_media(color_scheme="dark" if dark else "light")
    page.wait_for_selector("#live-bar")
    assert not (found := audit(page)).violations_count, found.generate_report()
    ready(page)
    page.locator(".live-verdict").nth(5).click()
    write(page, 6, "changed")
    assert not (found := audit(page)).violations_count, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(SHIFT) < 0.001


def test_from_a_file_a_sentence_takes_the_place_of_the_button(context):
    page = context.new_page()
    page.goto((SITE / PAGE.lstrip("/")).as_uri())
    assert page.locator("#live > button").count() == 0
    assert "not from a file" in page.text_content("#live")
    page.close()


def test_who_does_not_press_fetches_nothing_of_it(context, site):
    page = context.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(site + PAGE, wait_until="networkidle")
    assert asked and not [url for url in asked if "/live/" in url]
    page.close()
