"""A checkout for each test, in which a test can break pages."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from programs import pytest_and_sphinx

ROOT = Path(__file__).parents[1]
# The environment of its commands, without variables of the caller that change the output. For
# example, CI=true and FORCE_COLOR make Sphinx and pytest write in colours.
ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}

MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
SETTINGS = """
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "default.sqlite3"}}
DATABASE_ROUTERS = ["shop.routers.Router"]
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
"""
CONF = """
import os, sys
sys.path.insert(0, os.path.dirname(__file__))
extensions = ["livedocs.site", "sphinx_revealjs"]
"""
ROUTER = """
NAME = "{name}"


class Router:
    def db_for_read(self, model, **hints):
        return "default"
"""


class House:
    """A checkout with livedocs, and two projects whose modules have the same names."""

    def __init__(self, folder: Path):
        self.folder = folder
        shutil.copytree(
            ROOT / "livedocs", folder / "livedocs", ignore=shutil.ignore_patterns("__pycache__")
        )
        for name in ("conftest.py", "pyproject.toml"):
            shutil.copy(ROOT / name, folder)
        self.write("conf.py", CONF)
        for name in ("docs", "slides"):
            (folder / name / "_static").mkdir(parents=True)
        for name in ("tea", "clocks"):
            self.write(f"examples/{name}/manage.py", MANAGE)
            self.write(f"examples/{name}/shop/settings.py", SETTINGS)
            self.write(f"examples/{name}/shop/routers.py", ROUTER.format(name=name))

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(dedent(text).lstrip("\n"))

    def page(self, text: str, path: str = "docs/page.rst") -> None:
        self.write(path, text)

    def run(
        self, *arguments: str, timeout: float = 30, environment: dict[str, str] | None = None
    ) -> tuple[dict[str, int], str]:
        """Run pytest. Return its counts (``{"passed": 3}``) and its output.

        ``environment`` replaces the whole environment of these tests.
        """
        inherited = ENVIRONMENT if environment is None else environment
        # Hypothesis' plugin is not needed here, and takes as long to import as a page to run.
        options = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-rs"]
        command = ["-m", "pytest", *options, *(arguments or ["docs"])]
        env = {**inherited, "LIVEDOCS_TIMEOUT": str(timeout)}
        if environment is None:
            process = pytest_and_sphinx.run(*command, cwd=self.folder, env=env, timeout=300)
        else:  # Python reads some of the variables when it starts.
            process = subprocess.run(
                [sys.executable, *command],
                cwd=self.folder,
                env=env,
                capture_output=True,
                text=True,
                timeout=300,
            )
        words = (
            process.stdout.splitlines()[-1]
            .strip("= ")
            .partition(" in ")[0]
            .replace(",", "")
            .split()
        )
        return dict(
            zip(words[1::2], map(int, words[::2]), strict=True)
        ), process.stdout + process.stderr

    def build(self, builder: str = "html", source: str = "docs") -> tuple[int, str, str]:
        """Build the site (or, as ``revealjs``, the deck) as ``make site`` does.

        Returns the exit status, the warnings and the index page.
        """
        command = ["-m", "sphinx", "-c", ".", "-q", "-n", "-W", "--keep-going", "-b"]
        process = pytest_and_sphinx.run(
            *command,
            builder,
            source,
            f"_build/{builder}",
            cwd=self.folder,
            env=ENVIRONMENT,
            timeout=300,
        )
        index = self.folder / "_build" / builder / "index.html"
        return process.returncode, process.stderr, index.read_text() if index.exists() else ""

    def build_page(self, text: str, *extensions: str) -> tuple[int, str, str]:
        """Build a page with that text, with only these extensions of ours, as `build` does."""
        top = str(Path(__file__).parents[1])
        conf = f"import sys\nsys.path.insert(0, {top!r})\nextensions = {list(extensions)!r}\n"
        self.write("conf.py", conf)
        self.write("docs/index.rst", f"Title\n=====\n\n{text}\n")
        return self.build()

    def record(self) -> dict:
        return json.loads((self.folder / "_build/verified.json").read_text())

    def record_is_current(self) -> bool:
        """Whether the record is still valid for these pages and projects."""
        code = "from livedocs import record; print(bool(record.read()))"
        return (
            pytest_and_sphinx.run("-c", code, cwd=self.folder, env=ENVIRONMENT).stdout == "True\n"
        )


@pytest.fixture
def house(tmp_path):
    return House(tmp_path / "house")
