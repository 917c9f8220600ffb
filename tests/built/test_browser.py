"""The site in a browser: the size of each page, its functions, and its accessibility."""

import gzip
import re
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from xml.etree import ElementTree

import pytest
from axe_playwright_python.sync_playwright import Axe
from looks import audit

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "site"
DOCS = sorted(
    path.relative_to(ROOT / "docs").with_suffix("").as_posix()
    for path in (ROOT / "docs").rglob("*.rst")
)
PAGES = [f"/{name}.html" for name in DOCS if name != "404"]
# A page with a whole file of an example: the page with the longest name.
FILE = "/examples/sharding/customers/management/commands/populate.py.html"
VISITS = [*PAGES, FILE, "/search.html", "/no/such/page.html"]
WITH_CODE = "/patterns/functional.html"

# The compressed bytes that a first visit may request.
REQUESTS, BYTES = 10, 70_000


class Host(SimpleHTTPRequestHandler):
    """Serves the site as a host does: below its prefix, with gzip, and with a 404 page."""

    def __init__(self, *arguments, prefix: str):
        self.prefix = prefix
        super().__init__(*arguments)

    def do_GET(self):
        name = self.path.partition("?")[0].removeprefix(self.prefix)
        file = SITE / name
        status = 200 if file.is_file() else 404
        file = file if status == 200 else SITE / "404.html"
        body = gzip.compress(file.read_bytes())
        self.send_response(status)
        self.send_header("Content-Type", self.guess_type(file))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        pass


@pytest.fixture(scope="session")
def site():
    """The address of the site on this server, in place of the folder."""
    if not (SITE / "404.html").exists():
        pytest.fail("there is no built site: run make site first")
    # The 404 page has the address for which the site was built.
    prefix = re.search('href="(/.*?)_static/', html("404.html"))[1]
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Host, prefix=prefix))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}{prefix.rstrip('/')}"
    server.shutdown()


@pytest.mark.parametrize("path", VISITS)
def test_a_visit_is_light_and_private_and_has_no_errors(open_page, site, path):
    page = open_page("/glossary.html")  # Any page: the next page is checked.
    page.errors.clear(), page.requests.clear()
    answers = []
    page.on("requestfinished", lambda request: answers.append(request))
    page.goto(site + path, wait_until="networkidle")
    expected = ["the server responded with a status of 404"] if "/no/" in path else []
    assert len(page.errors) == len(expected), page.errors
    assert all(text in error for text, error in zip(expected, page.errors, strict=True))
    # On a busy machine Chromium may repeat a request that was not answered at once.
    asked = {url for url in page.requests if not url.startswith("data:")}
    assert [url for url in asked if not url.startswith(site + "/")] == []
    assert len(asked) <= REQUESTS, asked
    assert not [url for url in asked if "font" in url]
    weight = sum(
        answer.sizes()["responseBodySize"]
        for answer in answers
        if not answer.url.startswith("data:")
    )
    assert 10_000 < weight <= BYTES


# A page has many coloured words, and axe is slow. So it checks one word for each class.
ONE_OF_EACH_COLOUR = """() => {
    const seen = new Set();
    for (const word of document.querySelectorAll("pre span[class]:not(:has(*))"))
        seen.has(word.className) ? word.replaceWith(word.textContent) : seen.add(word.className);
}"""
# Resolves after the page has been drawn: only then has the script seen the new size of the window.
DRAWN = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
COLOURS = {"runOnly": ["color-contrast", "link-in-text-block"]}  # All rules that dark mode changes.


@pytest.mark.parametrize("path", VISITS)
def test_axe_finds_nothing(open_page, path):
    page = open_page(path)
    if "search" in path:
        page.locator("#main input").press_sequentially("a slave is stale")
        page.wait_for_selector("#search-results mark")
    page.evaluate(ONE_OF_EACH_COLOUR)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate(DRAWN)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for dark, options in ((False, {}), (True, COLOURS)):
            page.emulate_media(color_scheme="dark" if dark else "light")
            found = audit(page, **options)
            assert not found.violations_count, (width, dark, found.generate_report())


HARD_TO_READ = """() => {
    for (const [n, node] of document.querySelectorAll("#main p, #main dt").entries()) {
        if (n % 7 == 2) node.style.color = "#9aa";
        if (n % 7 == 3) node.style.backgroundColor = "#777";
        if (n % 7 == 4) node.style.opacity = ".5";
        if (n % 7 == 5) Object.assign(node.style, {color: "#888", fontSize: "24px"});
        if (n % 7 == 6) Object.assign(node.style, {color: "#888"});
    }
}"""


def test_looking_once_at_each_look_finds_all_that_axe_finds(open_page):
    found = []
    for run in (audit, lambda page, **options: Axe().run(page, options=options)):
        page = open_page("/glossary.html")
        page.evaluate(HARD_TO_READ)
        for dark in (False, True):
            page.emulate_media(color_scheme="dark" if dark else "light")
            (violation,) = run(page, **COLOURS).response["violations"]
            found.append({str(node["target"]) for node in violation["nodes"]})
    assert found[:2] == found[2:]
    assert min(map(len, found)) > 10


def test_the_dark_is_dark(open_page):
    def brightness(page, selector):
        colour = page.eval_on_selector(selector, "node => getComputedStyle(node).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    light, dark = open_page(WITH_CODE), open_page(WITH_CODE, dark=True)
    for selector in ("body", ".wy-nav-content", "#nav", "div[class*='highlight-']"):
        assert brightness(light, selector) > 600 > 150 > brightness(dark, selector)
    colours = [
        page.eval_on_selector(".highlight .s2", "node => getComputedStyle(node).color")
        for page in (light, dark)
    ]
    assert colours[0] != colours[1]


def follow(page, link):
    """Click on a link, and wait until its page is complete."""
    with page.expect_navigation():
        link.click()


def test_slash_and_a_search(open_page):
    page = open_page("/index.html")
    page.keyboard.press("/")
    page.keyboard.type("router")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results a[href^='routing.html']")


def test_a_search_without_hits_says_so(open_page):
    page = open_page("/search.html?q=xylophone")
    page.wait_for_selector("text=Nothing was found.")


def test_results_do_not_push_the_page_about(open_page):
    page = open_page("/search.html?q=router", width=390)
    page.wait_for_selector("#search-results li")
    shifts = """() => new Promise(resolve => new PerformanceObserver(list => resolve(
        list.getEntries().reduce((sum, shift) => sum + shift.value, 0)
    )).observe({type: "layout-shift", buffered: true}) || setTimeout(resolve, 300, 0))"""
    assert page.evaluate(shifts) < 0.06  # 0.08 to 0.12 without these two rules


def test_the_menu_of_a_phone_by_keyboard(open_page):
    page = open_page(WITH_CODE, width=390)
    link = page.locator("#nav a", has_text="Glossary")
    assert not link.is_visible()
    focused = []
    for _ in range(4):
        page.keyboard.press("Tab")
        focused.append(page.evaluate("document.activeElement.id || document.activeElement.text"))
    assert focused == [
        "Skip to the content",
        "menu",
        "Multi-database Patterns in Django",
        "Home",
        # After this come the link to edit the page, which not every build has, and the page.
    ]
    button = page.locator("#menu")
    button.focus()
    for key in ("Enter", "Space"):
        page.keyboard.press(key)
        assert link.is_visible()
        assert button.get_attribute("aria-expanded") == "true"
        page.keyboard.press("Escape")
        assert not link.is_visible()
        assert button.get_attribute("aria-expanded") == "false"
    page.keyboard.press("Enter")
    follow(page, link)
    assert page.title().startswith("Glossary")


def test_slash_opens_the_menu_of_a_phone(open_page):
    page = open_page("/index.html", width=390)
    page.locator("#main").focus()
    page.keyboard.press("/")
    page.keyboard.type("shard")
    assert page.locator("#nav input").input_value() == "shard"


CURRENT = ".toc a[aria-current]"


def test_the_contents_of_the_page_are_beside_it_and_follow_the_scroll(open_page):
    page = open_page(WITH_CODE, width=1440)
    links = page.locator(".toc a")
    assert links.first.is_visible() and not page.locator(".toc .here").is_visible()
    main, toc = page.locator("#main").bounding_box(), page.locator(".toc").bounding_box()
    assert toc["x"] >= main["x"] + main["width"]
    assert not page.locator(CURRENT).count()
    page.keyboard.press("End")
    page.wait_for_selector(CURRENT)
    links.nth(3).click()
    page.wait_for_function(
        "title => document.querySelector('.toc [aria-current]').innerText === title",
        arg=links.nth(3).inner_text(),
    )
    assert page.locator(CURRENT).count() == 1
    assert page.locator(".toc").bounding_box()["y"] == toc["y"]


def test_the_contents_of_the_page_are_folded_in_a_narrow_window(open_page):
    page = open_page(WITH_CODE, width=390, height=800)
    summary, link = page.locator(".toc summary"), page.locator(".toc a").nth(2)
    title = link.text_content()
    assert not link.is_visible()
    summary.focus()
    page.keyboard.press("Enter")
    assert link.is_visible()
    link.click()
    assert not link.is_visible()
    page.wait_for_function(
        "title => document.querySelector('.here').textContent === title", arg=title
    )
    # At the top of the window, with the title of the section below.
    box, heading = summary.bounding_box(), page.locator("#main :target :is(h2, h3)").first
    assert box["y"] < 5
    assert box["y"] + box["height"] <= heading.bounding_box()["y"] < 120


def test_the_contents_of_the_page_are_a_list_without_script(open_page):
    page = open_page(WITH_CODE, width=1440, java_script_enabled=False)
    page.locator(".toc summary").press("Enter")
    assert page.locator(".toc a").first.is_visible()
    assert page.locator(".toc li").count() == page.locator("#main section section").count()


def test_the_menu_shows_the_entry_of_this_page(open_page):
    page = open_page("/verified.html", height=500)
    entry = page.locator("#nav a[aria-current=page]").bounding_box()
    assert 0 < entry["y"] < 501 - entry["height"]
    assert page.evaluate("scrollY") == 0


@pytest.mark.parametrize(
    ("kind", "prompts"),
    [("div.highlight-console", ("$ ", "> ")), ("div.doctest", (">>> ", "... "))],
)
def test_copying_leaves_prompts_and_output(open_page, kind, prompts):
    page = open_page(WITH_CODE, permissions=["clipboard-read", "clipboard-write"])
    copied = 0
    for block in page.locator(kind).all():
        if not block.is_visible():  # This target is in the tab of another engine.
            continue
        lines = block.locator("pre").inner_text().rstrip("\n").split("\n")
        block.locator("button.copybtn").click()
        typed = [line[len(prompts[0]) :] for line in lines if line.startswith(prompts)]
        clipboard = page.evaluate("navigator.clipboard.readText()")
        # A blank line of output, or "..." at the end of a block, is copied as a blank line.
        assert [line for line in clipboard.split("\n") if line.strip()] == typed
        copied += len(typed) < len(lines)
    assert copied > 1


def test_code_without_prompts_is_copied_whole(open_page):
    page = open_page(WITH_CODE, permissions=["clipboard-read", "clipboard-write"])
    block = page.locator("div.literal-block-wrapper").first
    block.locator("button.copybtn").click()
    text = page.evaluate("navigator.clipboard.readText()")
    assert text.strip() == block.locator("pre").inner_text().strip()
    assert text.startswith("DATABASES = {\n")


def test_a_caption_leads_to_the_whole_file_which_is_copied_without_its_numbers(open_page):
    page = open_page("/patterns/read-your-writes.html", permissions=["clipboard-read"])
    page.locator(".caption-text a", has_text="replicas/reading.py").first.click()
    page.wait_for_load_state()
    line = page.locator(":target")
    assert line.inner_text().startswith("def database(")
    assert 0 < line.bounding_box()["y"] < 900
    assert "counter" in line.evaluate("node => getComputedStyle(node, '::before').content")
    page.locator("button.copybtn").click()
    text = page.evaluate("navigator.clipboard.readText()")
    whole = ROOT / "examples/replication/replicas/reading.py"
    assert text.strip() == whole.read_text().strip()


def test_the_copy_button_is_reached_by_tab_and_seen(open_page):
    page = open_page(WITH_CODE)
    page.locator("div.highlight pre").first.focus()
    page.keyboard.press("Tab")
    button = page.locator("button.copybtn:focus")
    assert button.evaluate("node => getComputedStyle(node).opacity") == "1"
    assert button.evaluate("node => getComputedStyle(node).outlineStyle") != "none"


def test_wide_code_scrolls_in_its_box_by_keyboard(open_page):
    page = open_page(WITH_CODE, width=390)
    block = page.locator("div.highlight pre").first
    block.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 0")
    assert page.evaluate("document.documentElement.scrollLeft") == 0


def test_a_wide_table_is_cards_on_a_phone(open_page):
    wide, narrow = open_page("/index.html"), open_page("/index.html", width=390)
    cells = [page.locator("table.cards tbody tr").first.locator("td") for page in (wide, narrow)]
    boxes = [[cell.bounding_box() for cell in row.all()] for row in cells]
    assert len({box["y"] for box in boxes[0]}) == 1
    assert len({box["x"] for box in boxes[1]}) == 1
    label = "node => getComputedStyle(node, '::before').content"
    assert cells[1].nth(1).evaluate(label) == '"Data"'


BROKEN_WORDS = r"""() => [...document.querySelectorAll("#main :is(td, th)")].flatMap(cell => {
    const found = [], texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    for (let text; text = texts.nextNode();)
        for (const word of text.data.matchAll(/[\p{L}\p{N}_.()'"]+/gu)) {
            const range = document.createRange();
            range.setStart(text, word.index);
            range.setEnd(text, word.index + word[0].length);
            const boxes = [...range.getClientRects()].filter(box => box.width);
            const width = boxes.reduce((sum, box) => sum + box.width, 0);
            const lines = new Set(boxes.map(box => Math.round(box.top))).size;
            if (lines > 1 && width < cell.clientWidth - 24) found.push(word[0]);
        }
    return found;
})"""


def test_no_word_of_a_table_is_broken_on_a_phone(open_page, site):
    page, broken = open_page("/index.html", width=390), {}
    for path in PAGES:
        page.goto(site + path)
        broken[path] = page.evaluate(BROKEN_WORDS)
    assert not any(broken.values()), {path: words for path, words in broken.items() if words}


WITH_TABS = "/contributing.html"


def test_tabs_for_engines_by_keyboard_and_the_choice_is_kept(open_page):
    page = open_page(WITH_TABS)
    tabs, panels = page.get_by_role("tab"), page.locator(".engine")
    assert tabs.all_inner_texts() == ["SQLite", "PostgreSQL and MariaDB"]
    assert [panel.is_visible() for panel in panels.all()] == [True, False]
    assert not page.locator(".engine-name:visible").count()
    tabs.first.focus()
    page.keyboard.press("ArrowRight")
    assert [panel.is_visible() for panel in panels.all()] == [False, True]
    assert page.evaluate("document.activeElement.textContent") == "PostgreSQL and MariaDB"
    page.keyboard.press("Tab")  # All tabs together are one stop for the Tab key.
    assert page.evaluate("document.activeElement.closest('[role=tabpanel]') !== null")
    page.reload()
    assert [panel.is_visible() for panel in panels.all()] == [False, True]
    page.evaluate("localStorage.setItem('engine', 'MariaDB')")
    page.reload()
    tabs.last.click()
    assert page.evaluate("localStorage.getItem('engine')") == "MariaDB"
    page.evaluate("localStorage.setItem('engine', 'Oracle')")
    page.reload()
    assert [panel.is_visible() for panel in panels.all()] == [True, False]
    page.emulate_media(media="print")
    assert [panel.is_visible() for panel in panels.all()] == [True, True]
    assert page.locator(".engine-name:visible").count() == 2


def test_the_skip_link(open_page):
    page = open_page("/index.html")
    page.keyboard.press("Tab")
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_each_section_has_a_link_to_itself(open_page):
    page = open_page(WITH_CODE)
    for section in page.locator("#main section").all():
        link = section.locator("> :is(h1, h2, h3, h4) > a.headerlink")
        assert link.get_attribute("href").removeprefix("#") in section.evaluate(
            "node => [node.id, ...[...node.querySelectorAll(':scope > span')].map(s => s.id)]"
        )


def test_next_and_previous_follow_the_contents(open_page):
    page = open_page("/index.html")
    contents = page.locator("#nav li.toctree-l1 > a").all_inner_texts()
    walked = []
    while page.locator("footer a[rel=next]").count() and len(walked) <= len(contents):
        follow(page, page.locator("footer a[rel=next]"))
        walked.append(page.locator("#nav a[aria-current=page]").inner_text())
    assert walked == contents
    follow(page, page.locator("footer a[rel=prev]"))
    assert page.locator("#nav a[aria-current=page]").inner_text() == contents[-2]


def test_the_page_for_what_is_not_there_works_at_any_depth(open_page, site):
    page = open_page("/no/such/folder/page.html")
    assert "Page not found" in page.title()
    assert page.locator("#nav").bounding_box()["width"] == 300
    follow(page, page.get_by_role("link", name="Glossary"))
    assert page.url == f"{site}/glossary.html"


def html(path: str) -> str:
    return (SITE / path.lstrip("/")).read_text()


@pytest.fixture(scope="module")
def described(site):
    return {
        path: re.findall(r'<meta name="description" content="(.*?)"', html(path)) for path in PAGES
    }


def test_each_page_describes_itself(described):
    assert all(len(found) == 1 and len(found[0]) > 20 for found in described.values())
    assert len({found[0] for found in described.values()}) == len(PAGES)
    assert len({re.search("<title>(.*?)</title>", html(path))[1] for path in PAGES}) == len(PAGES)
    for path in PAGES:
        tags = dict(re.findall(r'<meta property="(og:\w+)" content="(.*?)"', html(path)))
        assert tags.get("og:url", path).endswith(path)  # Only if the site has an address.
        assert tags["og:description"] == described[path][0]


def test_the_sitemap_lists_each_page_and_robots_name_it(described):
    named = re.search('<link rel="canonical" href="(.*?)index.html"', html("index.html"))
    if not named:
        assert not (SITE / "sitemap.xml").exists() and not (SITE / "robots.txt").exists()
        return
    tree = ElementTree.parse(SITE / "sitemap.xml")
    urls = [node.text for node in tree.iterfind("{*}url/{*}loc")]
    assert urls == [named[1] + path.lstrip("/") for path in PAGES]
    assert f"Sitemap: {named[1]}sitemap.xml" in html("robots.txt")


def test_each_page_can_be_edited_or_none(described):
    links = {
        name: re.findall(r'class="edit" href="\S+/main/(\S+)"', html(f"{name}.html"))
        for name in DOCS
    }
    assert links.pop("404") == []
    if any(links.values()):
        assert links == {name: [f"docs/{name}.rst"] for name in links}


def test_the_sitemap_is_the_same_after_a_rebuild(tmp_path):
    def build() -> str:
        settings = ["extensions=theme", "html_theme=theme", "html_baseurl=https://example.org/"]
        options = [option for setting in settings for option in ("-D", setting)]
        command = [sys.executable, "-m", "sphinx", "-C", "-q", "-W", *options]
        subprocess.run([*command, tmp_path, tmp_path / "site"], cwd=ROOT, check=True)
        return (tmp_path / "site/sitemap.xml").read_text()

    (tmp_path / "index.rst").write_text("Title\n=====\n\n.. toctree::\n\n   other\n")
    (tmp_path / "other.rst").write_text("Other\n=====\n")
    first = build()
    assert first.count("<loc>https://example.org/") == 2
    (tmp_path / "other.rst").write_text("Other\n=====\n\nChanged.\n")
    assert build() == first


def test_the_deck_gets_nothing_of_the_site(site):
    assert (SITE / "slides/index.html").exists()
    assert not [name for name in ("404.html", "sitemap.xml") if (SITE / "slides" / name).exists()]
