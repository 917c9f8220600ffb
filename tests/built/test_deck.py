"""The deck in a browser: its keys, the speaker view, its appearance, and print."""

import gzip
import json
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes
from looks import audit

from livedocs.engines import of_page
from slides.deck import say_address
from slides.deck import site as link_to_site
from slides.to_pdf import count_pages, print_deck

ROOT = Path(__file__).parents[2]

# Goes through all slides and steps, and returns what does not fit, and text that is too small for
# the last row: code, and the text of pictures.
OVERFLOWS = """() => Reveal.getSlides().flatMap((slide) => {
    const {h, v} = Reveal.getIndices(slide);
    Reveal.slide(h, v, 99);
    const title = slide.querySelector("h1, h2, h3").textContent, wrong = [];
    if (slide.scrollWidth > 1280 || slide.scrollHeight > 680) wrong.push(`${title}: the slide`);
    for (const code of slide.querySelectorAll("pre")) {
        if (code.scrollWidth > code.clientWidth || code.scrollHeight > code.clientHeight)
            wrong.push(`${title}: its code`);
        if (parseFloat(getComputedStyle(code).fontSize) < 24) wrong.push(`${title}: small code`);
    }
    for (const text of slide.querySelectorAll("svg text"))
        if (parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a < 24)
            wrong.push(`${title}: small letters: ${text.textContent}`);
    return wrong;
})"""
SHOW = """(part) => {
    const slide = Reveal.getSlides().find((slide) => slide.querySelector(part));
    const {h, v} = Reveal.getIndices(slide);
    Reveal.slide(h, v, 99);
}"""
HERE = """() => {
    const {h, v} = Reveal.getIndices();
    return [h, v, Reveal.getCurrentSlide().querySelectorAll(".fragment.visible").length];
}"""

# The content of each slide, for the speaker and for the audience.
TALK = """() => Reveal.getSlides().map((slide) => {
    const read = (part) => [...slide.querySelectorAll(part)].map((found) => found.textContent);
    return {
        chapter: read("h2").join(),
        title: read("h1, h2, h3").join(),
        seconds: Number(slide.dataset.timing ?? 0),
        notes: read("aside.notes").join(),
        code: read("pre").join("\\n"),
        blocks: read("pre"),
        heads: read("th"),
        drawn: read("svg").length > 0,
    };
})"""
MINUTES = 45
# Words for each minute of a slide. A speaker says 120 to 150 words in a minute. In the rest of the
# time, the audience looks, or the speaker types.
PACE = range(40, 161)
PATTERNS = ["By function", "Sharding", "Replication", "Augmentation"]


@pytest.fixture
def open_deck(open_page):
    """Open the deck: ``open_deck("#/1/2", dark=True)``."""

    def open_deck(slide="", **options):
        page = open_page(f"/slides/index.html{slide}", height=720, **options)
        page.set_default_timeout(5_000)
        page.wait_for_function("Reveal.isReady()")
        return page

    return open_deck


@pytest.fixture
def deck(open_deck):
    return open_deck()


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)
    return page.evaluate(HERE)


def test_the_keys_move_and_step(deck):
    assert press(deck, "ArrowRight") == [1, 0, 0]
    assert press(deck, "ArrowDown", "ArrowDown") == [1, 0, 2]
    assert press(deck, "ArrowUp") == [1, 0, 1]
    assert press(deck, *["Space"] * 5) == [1, 1, 0]
    deck.wait_for_url("**/index.html#/1/1")
    assert press(deck, "Home") == [0, 0, 0]


# The lines of code on the current slide that have colours.
BRIGHT = """() => [...Reveal.getCurrentSlide().querySelectorAll(".k")]
    .filter((word) => word.textContent === "def" && getComputedStyle(word).fontWeight > 400)
    .map((word) => word.nextElementSibling.textContent)"""


def test_code_is_stepped_through(deck):
    deck.evaluate("Reveal.slide(2, 1)")
    assert deck.evaluate(BRIGHT) == ["db_for_read"]
    for step, name in enumerate(["db_for_write", "allow_relation", "allow_migrate"], 1):
        assert press(deck, "ArrowDown")[2] == step
        assert deck.evaluate(BRIGHT) == [name]
    press(deck, "ArrowUp")
    assert deck.evaluate(BRIGHT) == ["allow_relation"]


def test_no_slide_begins_or_ends_inside_of_a_dict(deck):
    for slide in deck.evaluate(TALK):
        for block in slide["blocks"]:
            for first, last in ("{}", "[]", "()"):
                assert block.count(first) == block.count(last), (slide["title"], block)


def test_the_first_slide_and_the_last_name_the_keys_and_the_site(deck):
    ends = deck.evaluate("""() => Reveal.getSlides().map((slide) => [
        [...slide.querySelectorAll("kbd")].map((key) => key.textContent),
        [...slide.querySelectorAll("a")].map((link) => link.getAttribute("href")),
    ])""")
    for keys, links in (ends[0], ends[-1]):
        assert {"S", "F", "Esc", "?"} == set(keys)
        assert "../index.html" in links
    deck.evaluate("Reveal.next()")
    help_ = press(deck, "Shift+?") and deck.locator(".r-overlay-help").inner_text()
    assert all(re.search(rf"\b{key}\b", help_) for key in ("S", "F", "ESC"))


def test_the_address_of_the_site_can_be_read_where_it_has_one():
    def shown(address):
        links, _ = link_to_site("site", "", "The site", 1, None)
        said = nodes.paragraph("", "", *links)
        app = SimpleNamespace(config=SimpleNamespace(html_baseurl=address))
        say_address(app, said, "index")
        return said.astext()

    assert shown("") == "The site"
    assert shown("https://example.org/docs/") == "The site (https://example.org/docs/)"


def test_the_overview_and_the_help(deck):
    press(deck, "Escape")
    assert deck.evaluate("Reveal.isOverview()")
    press(deck, "Escape")
    assert not deck.evaluate("Reveal.isOverview()")
    press(deck, "Shift+?")
    assert "Speaker notes view" in deck.locator(".r-overlay-help").inner_text()


def file_of(chapter):
    """Return the file of a chapter's slides, relative to the top of the checkout."""
    heading = re.compile(rf"^{re.escape(chapter)}\n[-=~^]+$", re.MULTILINE)
    files = [file for file in ROOT.glob("slides/**/*.rst") if heading.search(file.read_text())]
    return ", ".join(str(file.relative_to(ROOT)) for file in files)


def test_the_talk_takes_its_time_and_each_part_begins_when_its_notes_say(deck):
    chapters = []
    for slide in deck.evaluate(TALK):
        if slide["chapter"] or not chapters:
            minute = re.match(r"Minute (\d+)\. ", slide["notes"])
            begins = int(minute[1]) if minute else 0 if not chapters else None
            chapters.append((slide["chapter"] or slide["title"], begins, []))
        chapters[-1][-1].append((slide["title"], slide["seconds"]))
    for chapter, begins, _ in chapters:
        assert begins is not None, f"{file_of(chapter)}: {chapter}: no `Minute 12. ` in its notes"
    ends = [begins for _, begins, _ in chapters[1:]] + [MINUTES]
    wrong = [
        f"{file_of(chapter)}: {chapter}: from minute {begins} to {end}, by its notes and those of "
        f"the chapter after it, and its slides last {lasts} seconds: {slides}"
        for (chapter, begins, slides), end in zip(chapters, ends, strict=True)
        if (lasts := sum(seconds for _, seconds in slides)) != 60 * (end - begins)
    ]
    assert wrong == []


def test_the_notes_can_be_spoken_while_their_slide_is_shown(deck):
    chapter, wrong = "", []
    for slide in deck.evaluate(TALK):
        chapter = slide["chapter"] or chapter or slide["title"]
        words, seconds = len(slide["notes"].split()), slide["seconds"]
        if not seconds or 60 * words // seconds not in PACE:
            wrong.append(
                f"{file_of(chapter)}: {slide['title']}: {words} words in {seconds} seconds; a "
                f"minute takes {PACE[0]} to {PACE[-1]}"
            )
    assert wrong == []


def test_each_pattern_has_its_seven_kinds_of_slide_in_the_order_of_the_talk(deck):
    kinds, chapter = {}, ""
    for slide in deck.evaluate(TALK):
        chapter = slide["chapter"] or chapter
        title, code, heads = slide["title"], slide["code"], slide["heads"]
        kinds.setdefault(chapter, Counter()).update(
            {
                "picture": slide["drawn"],
                "settings": title == "The settings" and ": {" in code,
                "router": title.startswith("The router") and "def db_for_read" in code,
                "trap": title == "The trap to remember" and ">>> " in code,
                "demo": title.startswith("Demo: ") and "$ python manage.py" in code,
                "strengths": "Strengths" in heads,
                "weaknesses": "Weaknesses" in heads,
            }
        )
    assert [chapter for chapter in kinds if chapter in PATTERNS] == PATTERNS
    for pattern in PATTERNS:
        assert [kind for kind, slides in kinds[pattern].items() if not slides] == [], pattern
        assert kinds[pattern]["trap"] == 1


def test_the_speaker_sees_notes_and_a_timer(deck):
    with deck.expect_popup() as popup:
        press(deck, "s")
    speaker = popup.value
    speaker.set_default_timeout(5_000)
    requests = []
    speaker.on("request", lambda request: requests.append(request.url))
    notes = speaker.locator(".speaker-controls-notes .value")
    pace = speaker.locator(".pacing")
    notes.get_by_text("Welcome.").wait_for()
    pace.wait_for()  # It appears if each slide has its time.
    speaker.wait_for_function("document.querySelector('.timer').innerText.trim() > '00:00:00'")
    press(deck, "ArrowRight")
    notes.get_by_text("Here are the four patterns").wait_for()
    assert all(url.startswith((deck.url.partition("/slides/")[0], "about:")) for url in requests)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(open_deck, dark):
    page = open_deck(dark=dark, reduced_motion="reduce")
    for part in (
        "h1",
        "h2",
        ".fragment",
        "table",
        ".code-block-caption",
        "pre .s2",
        ".stepped",
        "kbd",
        "svg",
        "a",
    ):
        page.evaluate(SHOW, part)
        found = audit(page).response["violations"]
        assert found == [], f"{part}: {json.dumps(found, indent=1)}"


def test_it_is_dark_for_who_asked_for_it(open_deck):
    colour = "getComputedStyle(document.body).backgroundColor"
    assert open_deck().evaluate(colour) == "rgb(251, 252, 253)"
    assert open_deck(dark=True).evaluate(colour) == "rgb(19, 32, 43)"


def test_nothing_overflows(deck):
    assert deck.evaluate(OVERFLOWS) == []


def test_a_part_that_some_engines_cannot_run_says_why_on_its_first_slide(deck):
    why = {of_page(file.read_text())[1] for file in ROOT.glob("slides/parts/*.rst")} - {""}
    said = deck.locator(".livedocs-limits")
    assert len(why) == said.count() > 0
    for number in range(said.count()):
        deck.evaluate(
            """(number) => {
                const said = document.querySelectorAll(".livedocs-limits")[number];
                const {h, v} = Reveal.getIndices(said.closest("section"));
                Reveal.slide(h, v);
            }""",
            number,
        )
        said.nth(number).wait_for(state="visible")
        shown = said.nth(number).inner_text().replace("’", "'")
        assert shown.startswith("The examples in this part run on ")
        assert shown.partition(", because ")[2].removesuffix(".") in why


def test_it_asks_no_other_host_and_weighs_little(deck, site):
    deck.wait_for_load_state("networkidle")
    assert deck.errors == []
    assert [url for url in deck.requests if not url.startswith((site, "data:"))] == []
    requests = [url for url in deck.requests if url.startswith(site)]
    weight = sum(len(gzip.compress(deck.request.get(url).body())) for url in requests)
    assert len(requests) <= 6
    assert weight < 70_000


def test_the_page_says_what_it_is(deck):
    assert deck.title() == "Multi-database Patterns in Django: the slides"
    assert deck.locator("html").get_attribute("lang") == "en"
    assert "four patterns" in deck.locator("meta[name=description]").get_attribute("content")
    assert deck.get_by_role("main").count() == 1
    assert deck.locator("section").last.locator("a").first.get_attribute("href") == "../index.html"


def test_its_sections_are_balanced(deck, site):
    html = deck.request.get(f"{site}/slides/index.html").text()
    assert html.count("<section") == html.count("</section>") > 20


def test_it_prints_a_page_a_slide_and_a_handout(browser, site, tmp_path):
    slides = print_deck(browser, ROOT / "_build/site/slides", tmp_path)
    assert count_pages(tmp_path / "slides.pdf") == slides > 20
    assert slides / 2 <= count_pages(tmp_path / "handout.pdf") < slides
