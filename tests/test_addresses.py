"""The site has the addresses that its builder sets, and without them no address."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from programs import pytest_and_sphinx

from theme import addresses

ROOT = Path(__file__).parents[1]

SITES = {
    "https://example.org/docs/": "https://example.org/docs/",
    "https://example.org/docs": "https://example.org/docs/",
    "http://localhost:8000": "http://localhost:8000/",
    "": "",
}
REPOSITORIES = {
    "https://github.com/owner/name": "https://github.com/owner/name/edit/main/",
    "https://github.com/owner/name.git": "https://github.com/owner/name/edit/main/",
    "https://name:secret@github.com/owner/name": "https://github.com/owner/name/edit/main/",
    "git@github.com:owner/name.git": "https://github.com/owner/name/edit/main/",
    "git@github.com:22/name.git": "https://github.com/22/name/edit/main/",
    "ssh://git@gitlab.example.org:2222/a/b/name.git": (
        "https://gitlab.example.org/a/b/name/-/edit/main/"
    ),
    "http://gitlab.example.org:8080/a/b/": "http://gitlab.example.org:8080/a/b/-/edit/main/",
    "https://codeberg.org/owner/name": "https://codeberg.org/owner/name/_edit/main/",
}
NONE = ["/srv/git/name.git", "../github.com", "file:///srv/github/name", r"C:\github\name", "", "."]


@pytest.mark.parametrize("said", SITES)
def test_the_site_is_where_its_publisher_says(said):
    assert addresses.site({"SITE_URL": said}) == SITES[said]
    assert addresses.site({"READTHEDOCS_CANONICAL_URL": said}) == SITES[said]
    both = {"SITE_URL": said, "READTHEDOCS_CANONICAL_URL": "https://other.example.org/"}
    assert addresses.site(both) == (SITES[said] or "https://other.example.org/")


@pytest.mark.parametrize(
    "said",
    ["example.org", "/docs/", "ftp://example.org/", "https://", "https://a b/", "https://a/?"],
)
def test_what_is_no_address_of_a_site_is_said(caplog, said):
    assert addresses.site({"SITE_URL": said}) == ""
    assert caplog.messages == [
        f"SITE_URL={said} is not an address of a site: write https://example.org/docs/"
    ]


@pytest.fixture
def checkout(tmp_path):
    """A git checkout, and a function that sets the address of its ``origin``."""
    git = ["git", "-C", tmp_path]
    subprocess.run([*git, "init", "-q"], check=True)

    def clone_of(address: str) -> Path:
        subprocess.run([*git, "remote", "add", "origin", address], check=True)
        return tmp_path

    return clone_of


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_a_page_is_edited_in_its_repository(checkout, repository):
    said, elsewhere = {"REPOSITORY_URL": repository}, Path("/")
    assert addresses.edits(said, elsewhere) == REPOSITORIES[repository]
    assert addresses.edits({}, checkout(repository)) == REPOSITORIES[repository]


@pytest.mark.parametrize("repository", [*NONE, "https://example.org/owner/name"])
def test_a_remote_that_is_no_forge_gives_no_address(checkout, repository):
    assert addresses.edits({}, checkout(repository)) == ""


@pytest.mark.parametrize("said", [*filter(None, NONE), "https://example.org/owner/name"])
def test_what_is_no_address_of_a_repository_is_said(caplog, checkout, said):
    folder = checkout("https://github.com/owner/name")
    assert addresses.edits({"REPOSITORY_URL": said}, folder) == ""
    (message,) = caplog.messages
    assert message.startswith(
        f"REPOSITORY_URL={said} is not a repository on github, gitlab, codeberg:"
    )


def test_no_remote_no_checkout_and_no_git_give_no_address(checkout, tmp_path, monkeypatch):
    folder = checkout("https://github.com/owner/name")
    (folder / "inner").mkdir()
    assert addresses.edits({}, folder / "inner") == ""  # Not those of the outer checkout.
    monkeypatch.setenv("PATH", "")
    assert addresses.edits({}, folder) == ""


@pytest.fixture
def build(tmp_path):
    """Build a small site with our settings. Return the exit status, the errors and the folder."""

    def build(**environment: str) -> tuple[int, str, Path]:
        (tmp_path / "index.rst").write_text("Title\n=====\n\n.. toctree::\n\n   other\n")
        (tmp_path / "other.rst").write_text("Other\n=====\n\nMore.\n")
        (tmp_path / "404.rst").write_text(":orphan:\n\nPage not found\n==============\n")
        process = pytest_and_sphinx.run(
            *["-m", "sphinx", "-c", ROOT, "-q", "-W", tmp_path, tmp_path / "site"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **environment},
        )
        return process.returncode, process.stderr, tmp_path / "site"

    return build


def addresses_in(site: Path) -> set[str]:
    """The absolute addresses in the pages, without those of drawings and schemas."""
    files = [*site.glob("*.html"), *site.glob("*.xml"), *site.glob("*.txt")]
    found = {url for file in files for url in re.findall(r'https?://[^\s"<)]+', file.read_text())}
    return {url for url in found if not re.match("https?://(www.w3.org|www.sitemaps.org)/", url)}


def test_a_site_with_addresses_and_then_without(build):
    status, errors, site = build(
        SITE_URL="https://example.org/docs", REPOSITORY_URL="https://github.com/owner/name"
    )
    assert (status, errors) == (0, "")
    assert '<link rel="canonical" href="https://example.org/docs/other.html">' in (
        (site / "other.html").read_text()
    )
    assert 'href="/docs/_static/' in (site / "404.html").read_text()
    assert addresses_in(site) == {
        "https://example.org/docs/index.html",
        "https://example.org/docs/index.md",
        "https://example.org/docs/other.html",
        "https://example.org/docs/other.md",
        "https://example.org/docs/search.html",
        "https://example.org/docs/sitemap.xml",
        "https://github.com/owner/name/edit/main/docs/index.rst",
        "https://github.com/owner/name/edit/main/docs/other.rst",
    }

    # The checkout may have a remote, which is not read if git is not installed.
    status, errors, site = build(PATH="")
    assert (status, errors) == (0, "")
    assert addresses_in(site) == set()
    assert "Edit this page" not in (site / "other.html").read_text()
    assert "canonical" not in (site / "other.html").read_text()
    assert 'href="/_static/' in (site / "404.html").read_text()
    assert not (site / "sitemap.xml").exists() and not (site / "robots.txt").exists()


def test_a_bad_address_is_one_line_and_fails_the_build(build):
    status, errors, _ = build(SITE_URL="example.org", REPOSITORY_URL="example.org")
    assert status == 1
    assert errors == (
        "WARNING: SITE_URL=example.org is not an address of a site: write https://example.org/docs/\n"
        "WARNING: REPOSITORY_URL=example.org is not a repository on github, gitlab, codeberg: "
        "write https://github.com/owner/name\n"
    )
