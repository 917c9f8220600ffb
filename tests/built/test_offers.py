"""The site also has the pages as Markdown, a list of the pages, and the version."""

import re
import tomllib
from pathlib import Path

import pytest

from theme.page import read_main

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "site"
PAGES = sorted(
    path.relative_to(ROOT / "docs").with_suffix("").as_posix()
    for path in (ROOT / "docs").rglob("*.rst")
    if path.name != "404.rst"
)
LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)")


def markdown_of(page: str) -> str:
    return (SITE / f"{page}.md").read_text()


def without_code(text: str) -> str:
    text = re.sub(r"^( *)(```+).*?^\1\2$", "", text, flags=re.M | re.S)
    return re.sub(r"(`+) ?.+? ?\1", "", text)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_as_markdown_has_all_that_the_page_has(page):
    main, text = read_main((SITE / f"{page}.html").read_text()), markdown_of(page)
    blocks = [pre.text().strip("\n") for pre in main.find("pre")]
    for block in blocks:
        lines = [re.escape(line) for line in block.split("\n")]
        assert re.search(r"\n *".join(lines), text), block
    assert len(re.findall(r"^ *````*\w*$", text, re.M)) == 2 * len(blocks)
    prose = without_code(text)
    tabs = [p.text() for p in main.find("p") if "engine-name" in p.classes]
    assert re.findall(r"^ *\*\*On (.+):\*\*$", prose, re.M) == tabs
    headings = sum(len(list(main.find(f"h{level}"))) for level in range(1, 7))
    assert len(re.findall(r"^#+ ", prose, re.M)) == headings
    assert len(re.findall(r"^ *\|( --- \|)+$", prose, re.M)) == len(list(main.find("table")))
    assert not re.search(r"(?<!\\)<(?!br>|https?:)\w+", prose), "HTML is left"
    for name in LINK.findall(prose):
        if not re.match(r"\w+:|#", name):
            target = (SITE / page).parent / name.partition("#")[0]
            assert target.resolve().is_file(), name


def test_llms_txt_lists_each_page_with_what_it_is_about():
    text = (SITE / "llms.txt").read_text()
    title, summary = text.split("\n")[0:3:2]
    assert title == "# Multi-database Patterns in Django" and summary.startswith("> ")
    listed = re.findall(r"^- \[.+?\]\((?:https?://.*?/)?([^:)]+)\.md\): (.{20,200})$", text, re.M)
    assert sorted(page for page, _ in listed) == PAGES
    assert len({about for _, about in listed}) == len(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_its_version_its_django_and_where_its_markdown_is(page):
    html = (SITE / f"{page}.html").read_text()
    foot = html.partition("<footer>")[2]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"Version {version}" in foot
    links = re.findall(r'<a href="([^"]+\.md)">This page as Markdown</a>', foot)
    assert links == re.findall(r'type="text/markdown" href="(.*?)"', html)
    assert ((SITE / page).parent / links[0]).samefile(SITE / f"{page}.md")
    ran = re.findall(r'class="livedocs livedocs-run[^"]*">Run on .*?; Django ([\d., and]+)<', html)
    if ran:
        djangos = {re.match(r"\d+\.\d+", it)[0] for run in ran for it in run.split(" and ")}
        assert f"for Django {' and '.join(sorted(djangos))}, with which this page was run" in foot
