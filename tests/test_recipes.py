"""The recipes: each is complete and short, and its smoke test finds a missing line of settings.

Each recipe runs as far as its smoke test, from an empty folder. Then the test removes each line
that the recipe adds to the settings, one at a time. A command in "Smoke test: …" must fail.
This runs on SQLite, where a server's address and timeouts have no effect.
"""

import ast
import os
import re
import shlex
import shutil
import signal
from itertools import takewhile
from pathlib import Path

import programs
import pytest

from livedocs.pages import COMMAND, PARSERS, Page, include_file, place_file, run_console, skip_next
from livedocs.session import Session
from livedocs.zips import taken_by

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs/recipes").glob("*.rst"))
MOST = 1200  # words, code included
SETTINGS = (
    "shop/databases.py",
    "shop/settings.py",
    "shop/settings_test.py",
    "shop/local.py",
)
SMOKE = re.compile(r"^Smoke test: .*\n-+\n", re.MULTILINE)
SHELL = re.compile(r"[|&;<>$`]")  # needs a shell
HEADING = re.compile(r"^.+\n-+\n", re.MULTILINE)

#: A command of the page that is repeated before each smoke test, because time has passed.
BEFORE = {
    "read-replica": "python manage.py replicate",
    "try-a-change": "python manage.py snapshot",
}
#: The lines that may be missing, and the reason why nothing fails then.
NOT_MISSED = {
    "app-in-its-own-database": {
        '"timeout": int(TIMEOUT),  # to wait for another writer': "for writers that meet",
        '"transaction_mode": "IMMEDIATE",': "for writers that meet",
        '"init_command": "PRAGMA journal_mode = WAL",': "for a writer that meets readers",
    },
    "customers-over-shards": {
        '"timeout": int(TIMEOUT),  # to wait for another writer': "for writers that meet",
        '"init_command": "PRAGMA journal_mode = WAL",': "for a writer that meets readers",
    },
    "try-a-change": {
        'DATABASES["default"]["OPTIONS"] = {': "for production, not for the change",
        '"timeout": 30,  # seconds to wait for another writer': "for writers that meet",
        '"transaction_mode": "IMMEDIATE",': "for writers that meet",
        '"init_command": "PRAGMA journal_mode = WAL",': "for a writer that meets readers",
    },
    "read-replica": {
        '"OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 5},': "for writers that meet",
    },
    "testing": {
        "for alias in DATABASES:": "a replica gets a server's address there",
        """"NAME": f"{(BASE_DIR / 'replica1.sqlite3').as_uri()}?mode=ro",""": "no test reads it",
    },
}

CONF = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from theme.glance import words_of

extensions = ["livedocs.site", "theme.glance", "theme.files"]

def setup(app):
    app.connect("doctree-read", lambda app, tree: print(app.env.docname, words_of(tree)))
"""


class Recipe:
    """A recipe that has been run as far as its smoke test."""

    def __init__(self, file: Path):
        self.name, self.text = file.stem, file.read_text()
        self.page = Page.parse(str(file), *PARSERS)
        self.examples = list(self.page)
        self.smoke = SMOKE.search(self.text)
        assert self.smoke, "no section says `Smoke test: …`"
        after = HEADING.search(self.text, self.smoke.end())
        within = [e for e in self.examples if self.smoke.end() < e.start < after.start()]
        shells = [e for e in within if e.region.evaluator is run_console]
        #: The first commands of the smoke test, which must succeed.
        self.proof = list(takewhile(lambda e: "\n$ echo $?" not in e.parsed, shells))

    def run(self) -> None:
        """Run the blocks. Raises `SybilFailure` if the output of one differs from the page."""
        self.page.session = self.page.begin()
        self.page.session.run_command = self.run_command
        self.folder = self.page.session.folder
        assert list(self.folder.iterdir()) == []
        downloads = self.folder.with_name("Downloads")
        self.downloads = {path.name for path in downloads.iterdir()}
        self.shown: list[tuple[Path, str]] = []  # the recipe's additions to the settings
        for example in self.examples:
            if example.start > self.proof[-1].start:
                break
            example.evaluate()
            if example.region.evaluator is place_file and example.start < self.smoke.start():
                caption = example.region.lexemes["options"]["caption"]
                path = caption.removesuffix(", at the end")
                if path in SETTINGS:
                    self.shown.append((self.folder / path, str(example.parsed).rstrip("\n") + "\n"))
        self.page.session.close()
        # A process that the recipe leaves running would lock what a command of BEFORE changes.
        for file in self.folder.glob("*.pid"):
            os.kill(int(file.read_text()), signal.SIGTERM)

    def run_command(self, command: str, status: int) -> tuple[int, str, str]:
        """Like a session, but faster: in a process that has imported Django already."""
        words = shlex.split(command)
        if SHELL.search(command) or words[0] not in ("python", "django-admin"):
            return Session.run_command(self.page.session, command, status)
        home = self.page.session.environment["HOME"]
        words = [re.sub("^~", home, word) for word in words]
        if words[0] == "django-admin":
            words[:1] = ["python", "-m", "django"]
        process = self.command(words)
        return process.returncode, process.stdout, ""

    def commands(self) -> list[list[str]]:
        """The commands of the smoke test."""
        found = [command for e in self.proof for command, _ in COMMAND.findall(e.parsed)]
        return [shlex.split(part) for command in found for part in command.split(" && ")]

    def wrong(self) -> str:
        """Return the error that the smoke test finds, or ""."""
        before = BEFORE.get(self.name)
        for command in [*([shlex.split(before)] if before else []), *self.commands()]:
            process = self.command(command)
            if process.returncode:
                return process.stdout
        return ""

    def command(self, command: list[str]):
        assert command[0] == "python", command
        environment = self.page.session.environment
        names = ("HOME", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
        kept = {name: environment[name] for name in names}
        return programs.django.run(
            *command[1:], cwd=self.folder, env=kept, timeout=120, merged=True
        )


def without_each_line(text: str):
    """Yield each line of some settings, and the text without it.

    If a line can't be removed alone, its whole statement is removed, once.
    """
    lines, gone = text.splitlines(keepends=True), set()
    statements = ast.parse(text).body
    for number, line in enumerate(lines):
        words = line.partition("#")[0].strip()
        if not words.strip("{}[](),") or words.startswith(('"""', "from __")):
            continue
        first, last = number, number + 1
        rest = "".join(lines[:first] + lines[last:])
        try:
            ast.parse(rest)
        except SyntaxError:
            whole = next(s for s in statements if s.lineno - 1 <= number < s.end_lineno)
            first, last = whole.lineno - 1, whole.end_lineno
            if first in gone:
                continue
            gone.add(first)
            rest = "".join(lines[:first] + lines[last:])
        yield lines[first].strip(), rest


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.stem)
def test_a_recipe_is_complete_and_misses_each_line(file, subtests):
    recipe = Recipe(file)
    assert recipe.page.project == "new"
    assert {include_file, skip_next}.isdisjoint(e.region.evaluator for e in recipe.examples)
    recipe.run()
    assert recipe.downloads == {f"{taken.split('/')[-1]}.zip" for taken in taken_by(recipe.text)}
    not_missed = NOT_MISSED.get(recipe.name, {})
    seen = set()
    for file, shown in recipe.shown:
        whole = file.read_text()
        assert shown in whole
        for line, rest in without_each_line(shown):
            with subtests.test(line):
                seen.add(line)
                file.write_text(whole.replace(shown, rest))
                assert bool(recipe.wrong()) == (line not in not_missed)
        file.write_text(whole)
    assert not_missed.keys() <= seen


def test_a_recipe_is_short(tmp_path):
    shutil.copytree(ROOT / "docs/recipes", tmp_path / "docs")
    (tmp_path / "conf.py").write_text(CONF)
    names = "".join(f"   {page.stem}\n" for page in PAGES)
    (tmp_path / "docs/index.rst").write_text(f"Recipes\n=======\n\n.. toctree::\n\n{names}")
    ran = programs.pytest_and_sphinx.run(
        *["-m", "sphinx", "-q", "-c", ".", "-b", "html", "docs", "site"], cwd=tmp_path
    )
    words = dict(line.split() for line in ran.stdout.splitlines())
    assert words.keys() >= {page.stem for page in PAGES}, ran.stderr
    long = {name: number for name, number in words.items() if int(number) > MOST}
    assert not long, words
