"""Each page that offers it runs in a browser: every block prints there what the page shows."""

import io
import re
import zipfile
from pathlib import Path

import pytest
from looks import audit

from live.bundles import PACKAGES

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "site"
BUTTON = re.compile('<div id="live"[^>]* data-')
#: The pages with the most commands come first, so that no worker begins a long page at the end.
PAGES = sorted(
    (
        path.relative_to(SITE).as_posix()
        for path in sorted(SITE.rglob("*.html"))
        if BUTTON.search(path.read_text())
    ),
    key=lambda path: (SITE / path).read_text().count('class="gp"'),
    reverse=True,
)
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
#: A small page with a project, two databases, files, queries and commands.
SMALL = "/hints.html"
EXERCISES = {path for path in PAGES if 'class="exercise"' in (SITE / path).read_text()}
LONGEST = 180_000  # Milliseconds for a page
TALL = "document.getElementById('main').offsetHeight"
FRAME = "requestAnimationFrame"
#: The layout shifts since the press, but for those right after an input, with what moved.
SHIFTS = """new Promise((done) => new PerformanceObserver((list) => done(list.getEntries()
    .filter((entry) => !entry.hadRecentInput && entry.startTime > window.pressed)
    .map(({value, sources}) => [value, sources.map(({node}) => node?.outerHTML?.slice(0, 200))])))
    .observe({type: "layout-shift", buffered: true}) || setTimeout(() => done([]), 200))"""


@pytest.fixture(scope="session")
def context(chromium, tmp_path_factory):
    """A browser with a profile on disk: it keeps compiled WebAssembly from page to page."""
    kind, options = chromium
    profile = tmp_path_factory.mktemp("profile")
    context = kind.launch_persistent_context(profile, accept_downloads=True, **options)
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
        press(page)
        if wait:
            ready(page)
        return page

    yield live
    for page in pages:
        assert page.errors == []
        assert len(page.hosts) == 1
        page.close()


def press(page):
    # After two frames, the page's own scripts have changed what they change, such as its tabs.
    page.evaluate(f"new Promise((done) => {FRAME}(() => {FRAME}(done)))")
    page.evaluate(f"[window.pressed, window.tall] = [performance.now(), {TALL}]")
    page.click("#live > button")


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


#: Widths in pixels, light and dark.
SIZES = [(1440, False), (1280, True), (390, False), (390, True)]


def show(page, width, dark):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme="dark" if dark else "light")
    page.evaluate("window.pressed = performance.now()")  # All moves when the size changes.


def check(page):
    found = audit(page)
    assert not found.violations_count, found.generate_report()


def test_axe_finds_nothing_while_it_runs_and_after(live):
    page = live(SMALL, wait=False)
    page.wait_for_selector("#live-bar")
    for width, dark in SIZES:
        show(page, width, dark)
        if page.get_attribute("html", "data-live") == "ready":
            page.get_by_role("button", name="Run the page").click()
        assert page.get_attribute("html", "data-live") == "running"
        check(page)
        ready(page)
        assert page.evaluate(SHIFTS) == []
    page.locator(".live-verdict").nth(5).click()
    write(page, 6, "changed")
    for width, dark in SIZES:
        show(page, width, dark)
        check(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


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
    assert page.evaluate(SHIFTS) == []
    assert page.evaluate(TALL) == page.evaluate("window.tall")
    if path in EXERCISES:
        solve(page)


def solve(page):
    """Only its solution solves the exercise of a page."""
    assert "solved" not in page.text_content("#live-status")
    solution = page.locator(".exercise .solution pre").first.text_content()
    number = int(page.locator(".exercise pre[role=textbox]").first.get_attribute("id")[5:])
    write(page, number, solution)
    page.locator(".exercise .live-row").first.get_by_text("Check").click()
    ready(page)
    assert "The exercise is solved." in page.text_content("#live-status")


def test_most_pages_with_a_project_offer_it():
    assert len(PAGES) >= 45
    sentence = re.compile(r"does not run in a browser, because (.*?)\.<")
    why = [reason for path in SITE.rglob("*.html") for reason in sentence.findall(path.read_text())]
    assert why and all(len(reason.split()) > 3 for reason in why)


def test_python_and_the_packages_are_compiled():
    def names(name, end):
        with zipfile.ZipFile(SITE / "_static" / "live" / name) as archive:
            return [path for path in archive.namelist() if path.endswith(end)]

    assert names("python_stdlib.zip", ".pyc") and not names("python_stdlib.zip", ".py")
    for name in PACKAGES:
        assert len(names(name, ".cpython-314.pyc")) == len(names(name, ".py")) > 0


def test_a_change_is_seen_below_and_can_be_put_back(live):
    page = live(SMALL)
    number = number_of(page, "def asked(result=None):")
    row = page.locator(".live-row", has_text=f"Block {number}:")
    verdict = row.locator(".live-verdict")
    assert page.get_attribute(f"#live-{number}", "aria-label").endswith(": you can change it")
    before = page.inner_text(f"#live-{number}")
    write(page, number, before.replace("        print(question", "        print('!', question"))
    assert "changed, and not run since" in verdict.text_content()
    row.get_by_text("Run from here").click()
    ready(page)
    wrong = page.locator(".live-verdict[data-kind=wrong]")
    assert wrong.count() > 0
    assert "Not as on the page" in page.text_content("#live-status")
    output = wrong.first.evaluate(
        "it => document.getElementById(it.getAttribute('aria-controls')).textContent"
    )
    assert "- db_for_write(" in output and "+ ! db_for_write(" in output
    row.get_by_text("Put back").click()
    assert page.inner_text(f"#live-{number}") == before
    row.get_by_text("Run from here").click()
    ready(page)
    assert {kind for kind, _ in verdicts(page)} == {"right"}


def test_an_error_leads_to_its_line(live):
    page = live(SMALL)
    number = number_of(page, ">>> asked(Group(")
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
    page = live(SMALL)
    number = number_of(page, "def asked(result=None):")
    start = "def asked(result=None):\n"
    text = page.inner_text(f"#live-{number}")
    write(page, number, text.replace(start, f"{start}    raise RuntimeError(result)\n"))
    page.keyboard.press("Control+Shift+Enter")
    ready(page)
    links = page.locator(".live-output a", has_text="shop/asked.py")
    assert links.filter(has_text=f"(block {number})").count() > 0


#: Commands that a reader may try, and what the block's output then is.
COMMANDS = {
    "ls manage.py products/migrations": "manage.py\n0001_initial.py\n__init__.py\n",
    "ls nowhere": "ls: nowhere: No such file or directory\n",
    "cat manage.py | grep -n os": "this small shell's grep has no option -n\n",
    "echo one | grep -v two": "one\n",
    "rm shop": "rm: shop: Is a directory\n",
    "python manage.py nothing": "Unknown command: 'nothing'\nType 'manage.py help' for usage.\n",
    "python manage.py check || echo no": "this small shell has no ||\n",
    "python manage.py runserver": "it starts a server\n",
    "python": "it starts Python's own prompt: write Python in a block of its own\n",
    "sqlite3 default.sqlite3": "it uses the command sqlite3\n",
}


def test_a_command_that_is_not_here_says_so(live):
    page = live(SMALL)
    number = number_of(page, "$ python manage.py migrate")
    found = {}
    for command in COMMANDS:
        write(page, number, f"$ {command}\n")
        page.keyboard.press("Control+Enter")
        ready(page)
        found[command] = page.text_content(f"#live-output-{number}")
    assert found == COMMANDS


def test_an_endless_loop_can_be_stopped_and_the_changes_stay(live):
    page = live(SMALL)
    number = number_of(page, ">>> asked(Group(")
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


#: An alias that only the interpreter has, and locks and sleep, which in a browser are our own.
TRIED = """\
>>> from django.core.files import locks
>>> from django.db import connections
>>> connections.settings["made"] = {**connections.settings["other"]}
>>> first, second = open("lock", "w"), open("lock", "w")
>>> [locks.lock(file, locks.LOCK_EX | locks.LOCK_NB) for file in (first, first, second)]
[True, True, False]
>>> first.close()
>>> locks.lock(second, locks.LOCK_EX | locks.LOCK_NB)
True
>>> from datetime import timedelta
>>> from time import monotonic, sleep
>>> from django.utils.timezone import now
>>> began = monotonic(), now()
>>> sleep(3600)
>>> 3600 < monotonic() - began[0] < 3610, now() - began[1] > timedelta(hours=1)
(True, True)
"""


def test_the_databases_can_be_looked_into(live):
    page = live(SMALL)
    number = number_of(page, ">>> asked(Group(")
    write(page, number, TRIED)
    page.keyboard.press("Control+Enter")
    ready(page)
    assert verdicts(page)[number - 1][0] == "right"
    page.get_by_role("button", name="Databases").click()
    ready(page)
    panel = page.locator("#live-databases")
    assert panel.locator("> details > summary").all_text_contents() == ["default", "other", "made"]
    table = panel.locator("details details", has_text="auth_group:").first
    assert re.match(r"auth_group: \d+ rows?", table.locator("summary").text_content())
    table.locator("summary").click()
    assert table.locator("th").all_text_contents() == ["id", "name"]
    assert "tasters" in table.locator("td").all_text_contents()
    check(page)


def test_the_project_can_be_downloaded_as_it_is_now(live):
    page = live(SMALL)
    number = number_of(page, "def asked(result=None):")
    text = page.inner_text(f"#live-{number}")
    write(page, number, f"{text.rstrip()}  # mine")
    page.get_by_role("button", name="Download").click()
    assert page.text_content("#live-status").startswith(f"Block {number} was changed after it ran")
    page.locator(f"#live-{number}").focus()
    page.keyboard.press("Control+Enter")
    ready(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "functional.zip"
    archive = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))
    assert archive.read("functional/shop/asked.py").endswith(b"  # mine\n")
    assert "functional/manage.py" in archive.namelist()
    assert any(name.endswith(".sqlite3") for name in archive.namelist())


def test_the_patterns_have_exercises():
    assert sorted(EXERCISES) == [
        "patterns/functional.html",
        "patterns/read-your-writes.html",
        "patterns/replication.html",
        "patterns/shadowing-rows.html",
        "patterns/shadowing.html",
        "patterns/sharding.html",
        "routing.html",
    ]


def test_from_a_file_a_sentence_takes_the_place_of_the_button(context):
    page = context.new_page()
    page.goto((SITE / SMALL.lstrip("/")).as_uri())
    assert page.locator("#live > button").count() == 0
    assert "not from a file" in page.text_content("#live")
    page.close()


def test_who_does_not_press_fetches_nothing_of_it(context, site):
    page = context.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(site + SMALL, wait_until="networkidle")
    assert asked and not [url for url in asked if "/live/" in url]
    page.close()
