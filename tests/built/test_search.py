"""The search in a browser: readers' queries find the section with the answer."""

import gzip
import re
from pathlib import Path

import pytest

from theme.search import sections_of

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "site"
LINES = Path(__file__).with_name("queries.tsv").read_text().splitlines()
QUERIES = [line.split("\t") for line in LINES if not line.startswith("#")]
# Nine of ten queries find the right section first, and all find it in the first three results.
FIRST = 0.9


@pytest.fixture(scope="module")
def sections():
    """The title of each section in the search, by address."""
    pages = {
        path.relative_to(SITE).as_posix(): path.read_text()
        for path in SITE.rglob("*.html")
        if (ROOT / "docs" / path.relative_to(SITE)).with_suffix(".rst").exists()
    }
    assert pages, "make site builds them"
    return {
        (page, section["id"]): section["title"]
        for page, html in pages.items()
        for section in sections_of(html)
    }


@pytest.fixture(scope="module")
def labels(sections):
    """The address of the section of each label. Docutils writes labels as spans."""
    found = {}
    for page in {page for page, _ in sections}:
        for section, more in re.findall(
            r'<section id="([^"]*)">((?:\s*<span id="[^"]*"></span>)*)', (SITE / page).read_text()
        ):
            found.setdefault(section, (page, section))
            found |= dict.fromkeys(re.findall('id="(.*?)"', more), (page, section))
    return found


def fits(address, page):
    """Whether this is the page of that name, or a page of traps, if ``page`` is "traps"."""
    return f"/{address}".endswith(f"/{page}.html") or address.startswith(f"{page}/")


def words(text):
    return " ".join(re.findall(r"\w+", text.lower()))


@pytest.fixture
def answers(sections, labels):
    """Return the sections that a cell of the table names."""

    def answers(named):
        found = set()
        for name in named.split(" | "):
            page, hash, part = name.partition("#")
            if not hash:
                assert name in labels, f"no section has the label {name}"
                found.add(labels[name])
            found |= {
                address
                for address, title in sections.items()
                if hash and fits(address[0], page) and words(part) in words(title)
            }
        return found

    return answers


@pytest.fixture
def ask(open_page):
    page = open_page("/search.html?q=router")
    page.wait_for_selector("#search-results li")
    box = page.locator("#main input")

    def ask(query):
        box.fill(query)
        box.press("Enter")
        links = page.locator("#search-results a").evaluate_all(
            "links => links.map(link => link.getAttribute('href'))"
        )
        return [tuple(link.split("#")) for link in links]

    ask.page = page
    return ask


def test_what_readers_search_for_leads_to_the_section(ask, answers, sections):
    assert len(QUERIES) >= 40
    firsts = {page: id for page, id in reversed(list(sections))}
    wrong, first = [], 0
    for query, named in QUERIES:
        right = answers(named)
        assert right, f"no section is named {named}"
        found = [(page, id[0] if id else firsts[page]) for page, *id in ask(query)[:3]]
        first += found[0] in right
        if not right & set(found):
            wrong.append(f"{query}\n   should find {named}\n   and found {found}")
    assert not wrong, "\n".join(wrong)
    assert first >= FIRST * len(QUERIES), f"the first result is right for {first}"


def test_a_result_is_a_section_with_an_excerpt_and_leads_there(ask):
    query = 'ValueError: Cannot assign "<Pocketwatch: Zytglogge>": the current database router'
    (name, anchor), page = ask(query)[0], ask.page
    item = page.locator("#search-results li").first
    marked = item.locator("mark").all_inner_texts()
    assert {"Cannot", "assign", "router"} <= set(marked)
    assert "any page: pocketwatch, zytglogge." in page.locator("[role=status]").inner_text()
    title = item.locator("a").inner_text()
    page.keyboard.press("Tab")  # To the button, and on to the first result.
    page.keyboard.press("Tab")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.url.endswith(f"/{name}#{anchor}")
    heading = page.locator(f"[id='{anchor}'] :is(h1, h2, h3)").first
    assert heading.inner_text().removesuffix("#") == title
    assert 0 <= heading.bounding_box()["y"] < 200


def test_the_site_s_words_for_a_reader_s(ask):
    found = ask("slave")
    assert "Also searched for: replica." in ask.page.locator("[role=status]").inner_text()
    assert len(set(found) & set(ask("replica"))) > 5


def test_results_while_typing_and_the_query_in_the_address(open_page):
    page = open_page("/search.html")
    assert not [url for url in page.requests if "searchindex" in url]
    page.locator("#main input").press_sequentially("scatter-gath")
    page.wait_for_selector("#search-results a[href$='glossary.html#term-scatter-gather']")
    page.keyboard.press("Enter")
    assert page.url.endswith("?q=scatter-gath")
    assert page.title().startswith("scatter-gath: Search")
    page.go_back()
    page.wait_for_function("!document.querySelector('#search-results li')")


def test_the_search_works_in_a_folder(browser):
    page = browser.new_page()
    page.goto((SITE / "search.html").as_uri() + "?q=router")
    page.wait_for_selector("#search-results li")
    page.close()


def test_what_the_search_weighs():
    index = gzip.compress((SITE / "searchindex.js").read_bytes())
    assert len(index) < 350_000  # About 5 KB a page. Requested once, and only by a search.
