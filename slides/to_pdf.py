"""Prints the deck with a headless Chromium: one page for each slide, and a handout with the notes.

``python -m slides.to_pdf FOLDER`` writes ``slides.pdf`` and ``handout.pdf`` into FOLDER, where the
deck was built.
"""

import re
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from live.browser import ARGUMENTS, find_chromium

HANDOUT = Path(__file__).parent / "handout.css"


def print_deck(browser: Browser, deck: Path, folder: Path) -> int:
    """Write ``slides.pdf`` and ``handout.pdf`` to a folder. Return the number of slides.

    Raises ``ValueError`` if the number of pages is different.
    """
    with browser.new_page(color_scheme="light") as page:
        show(page, deck)
        slides = page.evaluate("Reveal.getTotalSlides()")
        show(page, deck, "?print-pdf")
        write_pdf(page, folder / "slides.pdf")
        pages = count_pages(folder / "slides.pdf")
        if pages != slides:
            raise ValueError(f"{slides} slides take {pages} pages: is a slide too long?")
        show(page, deck, "?print-pdf&showNotes=separate-page")
        page.add_style_tag(path=HANDOUT)
        write_pdf(page, folder / "handout.pdf")
    return slides


def show(page: Page, deck: Path, options: str = "") -> None:
    """Open the deck with these options, and wait until reveal.js has its layout."""
    page.goto(f"{(deck / 'index.html').resolve().as_uri()}{options}")
    page.wait_for_function("Reveal.isReady()")
    if options:
        page.wait_for_selector(".pdf-page")


def write_pdf(page: Page, file: Path) -> None:
    page.pdf(path=file, prefer_css_page_size=True, print_background=True)


def count_pages(file: Path) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", file.read_bytes()))


def main(folder: str) -> None:
    deck, chromium = Path(folder), find_chromium()
    if chromium is None:
        sys.exit("Chromium is not installed. On Debian and Ubuntu: apt install chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        try:
            slides = print_deck(browser, deck, deck)
        except ValueError as error:
            sys.exit(str(error))
    print(f"{slides} slides are in {deck}/slides.pdf, with their notes in {deck}/handout.pdf.")


if __name__ == "__main__":
    main(*sys.argv[1:])
