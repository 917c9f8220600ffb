"""The files that a reader can take from the site: whole files, and zips of the examples."""

import ast
import html
import os
import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from bare import BareProject

from livedocs.zips import write_zip
from theme.files import first_line

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SITE = ROOT / "_build" / "site"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/manage.py"))
ZIPS = {
    path.relative_to(SITE / "examples").as_posix(): path
    for path in sorted((SITE / "examples").rglob("*.zip"))
}
WHOLE = sorted((SITE / "examples").rglob("*.html"))


def folder_of(name: str) -> Path:
    return EXAMPLES / name.removesuffix(".zip").removesuffix("-example")


def test_there_is_a_site():
    assert ZIPS and WHOLE, "make site builds it"


def test_each_example_and_each_app_that_is_copied_whole_is_offered():
    marked = {
        path.parent.name
        for path in EXAMPLES.glob("*/*/__init__.py")
        if "Copy the whole" in (ast.get_docstring(ast.parse(path.read_text())) or "")
    }
    assert marked
    offered = {path.stem for name, path in ZIPS.items() if "/" in name}
    assert marked <= offered, "a page offers one by :take:"
    assert {f"{name}-example.zip" for name in NAMES} <= set(ZIPS)


@pytest.mark.parametrize("name", ZIPS)
def test_a_zip_has_the_sources_and_the_licence_and_nothing_else(name):
    folder = folder_of(name)
    # The files in git, or to be added; not the files that a run has left.
    command = ["git", "ls-files", "-co", "--exclude-standard", "--", "."]
    listed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    expected = {f"{folder.name}/{line}": folder / line for line in listed.splitlines()}
    expected[f"{folder.name}/LICENSE"] = ROOT / "LICENSE"
    with ZipFile(ZIPS[name]) as archive:
        found = {entry.filename: archive.read(entry) for entry in archive.infolist()}
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
    assert found == {name: path.read_bytes() for name, path in expected.items()}
    assert {name for name, mode in modes.items() if mode == 0o755} == (
        {f"{folder.name}/manage.py"} if "/" not in name else set()
    )


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_out_of_its_zip(tmp_path, name):
    with ZipFile(ZIPS[f"{name}-example.zip"]) as archive:
        archive.extractall(tmp_path)
    process = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=tmp_path / name,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert "System check identified no issues" in process.stdout


def test_an_app_works_out_of_its_zip(tmp_path):
    project = BareProject(tmp_path / "project", "")
    for app in ("replicas", "replication"):
        with ZipFile(ZIPS[f"replication/{app}.zip"]) as archive:
            archive.extractall(project.folder)
    project.follow("replicas")
    assert "no issues" in project.manage("check")


def test_the_same_sources_give_the_same_bytes(tmp_path):
    for place, time in (("a", 1_000_000_000), ("b", 2_000_000_000)):
        (tmp_path / place / "tea/kettle").mkdir(parents=True)
        for name in sorted(("manage.py", "kettle/__init__.py"), reverse=place == "b"):
            (tmp_path / place / "tea" / name).write_text("tea\n")
            os.utime(tmp_path / place / "tea" / name, (time, time))
    # Files that a run leaves are not sources.
    for name in ("default.sqlite3", "default.sqlite3-wal", ".workers/1", "__pycache__/manage.pyc"):
        (tmp_path / "b/tea" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "b/tea" / name).write_text("left")
    for place in ("a", "b"):
        write_zip(tmp_path / place / "tea", tmp_path / f"{place}.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["tea/kettle/__init__.py", "tea/manage.py", "tea/LICENSE"]


def text_of(markup: str) -> str:
    return html.unescape(re.sub("<[^>]+>", "", markup))


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: str(path.relative_to(SITE)))
def test_a_page_has_the_whole_file_and_an_anchor_for_each_line(path):
    page = path.read_text()
    source = (EXAMPLES / path.relative_to(SITE / "examples").with_suffix("")).read_text()
    code = re.search("<pre[^>]*>(.*?)</pre>", page, re.DOTALL)[1]
    assert text_of(code) == source
    anchors = re.findall(r'<span id="L-(\d+)">', code)
    assert anchors == [str(number + 1) for number in range(len(source.splitlines()))]
    assert '<meta name="robots" content="noindex">' in page
    assert "livedocs" not in page  # It has no mark, because it is not a block.


def test_a_caption_leads_to_the_line_that_its_block_begins_with():
    found = 0
    for page in (SITE / "patterns").glob("*.html"):
        blocks = re.findall(
            r'caption-text"><a class="reference internal" href="([^"]+)#L-(\d+)">([^<]+)</a>'
            r".*?<pre[^>]*>(.*?)</pre>",
            page.read_text(),
            re.DOTALL,
        )
        for address, line, caption, code in blocks:
            file = (page.parent / address).resolve().relative_to(SITE / "examples")
            lines = (EXAMPLES / file.with_suffix("")).read_text().splitlines()
            shown = text_of(code).splitlines()
            assert lines[int(line) - 1 :][: len(shown)] == shown
            assert file.with_suffix("").as_posix().endswith(f"/{caption}")
            found += 1
    assert found > 20


def test_the_first_line_is_that_of_the_whole_block():
    whole = "class A:\n    x = 1\n\nclass B:\n    x = 1\n    y = 2\n"
    assert first_line(whole, "    x = 1\n    y = 2\n") == 5
    assert first_line(whole, "x = 1\ny = 2\n") == 5  # As with :dedent:.


@pytest.fixture
def build(tmp_path):
    """Build a site with one page. Return the exit status, the warnings and the page."""

    def build(text: str) -> tuple[int, str, str]:
        (tmp_path / "index.rst").write_text("Title\n=====\n\n" + text)
        settings = ["extensions=theme", "html_theme=theme"]
        options = [option for setting in settings for option in ("-D", setting)]
        command = [sys.executable, "-m", "sphinx", "-C", "-q", "-W", "--keep-going", *options]
        process = subprocess.run(
            [*command, tmp_path, tmp_path / "site"], cwd=ROOT, capture_output=True, text=True
        )
        return process.returncode, process.stderr, (tmp_path / "site/index.html").read_text()

    return build


def test_only_what_is_included_from_an_example_has_a_link(build, tmp_path):
    file = os.path.relpath(EXAMPLES / "functional/reviews/joins.py", tmp_path)
    (tmp_path / "notes.py").write_text("notes = 1\n")
    status, warnings, page = build(
        f".. literalinclude:: {file}\n   :caption: reviews/joins.py\n\n"
        ".. literalinclude:: notes.py\n   :caption: notes.py\n\n"
        ".. code-block:: python\n   :caption: reviews/joins.py\n\n   typed = 1\n\n"
        f".. literalinclude:: {file}\n"
    )
    assert (status, warnings) == (0, "")
    captions = re.findall('<span class="caption-text">(.*?)</span>', page)
    link = '<a class="reference internal" href="examples/functional/reviews/joins.py.html#L-1">'
    assert captions == [f"{link}reviews/joins.py</a>", "notes.py", "reviews/joins.py"]


@pytest.mark.parametrize(
    ("taken", "known"),
    [
        ("replication/replica", "examples/replication has products, replicas, replication"),
        ("replicas", "examples/ has distributed, functional, replicated_shards"),
        ("replication/replicas/", "examples/replication has products"),
        ("../tests", "examples/ has distributed, functional, replicated_shards"),
    ],
)
def test_what_is_not_there_to_take_fails_the_build(build, taken, known):
    status, warnings, page = build(f"Take :take:`{taken}`.\n")
    assert status == 1
    error = f":take:`{taken}` is neither an example nor an app of an example: {known}"
    assert f"index.rst:4: ERROR: {error}" in warnings


def test_what_is_offered_is_linked(build, tmp_path):
    status, warnings, page = build("Take :take:`sharding/sharding`, or :take:`sharding`.\n")
    assert (status, warnings) == (0, "")
    links = re.findall(r'<a class="reference internal" href="(\S+)">(.*?)</a>', page)
    assert links == [
        ("examples/sharding/sharding.zip", "sharding.zip"),
        ("examples/sharding-example.zip", "sharding-example.zip"),
    ]
    assert all((tmp_path / "site" / link).is_file() for link, _ in links)
