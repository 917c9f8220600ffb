"""A checkout for each test, to break pages in; and a browser, to look at the built site."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent
from threading import Thread

import pytest
from playwright.sync_api import sync_playwright

from slides.to_pdf import find_chromium

ROOT = Path(__file__).parents[1]

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
extensions = ["livedocs.site", "livedocs.topology", "sphinx_revealjs"]
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
        """Run pytest; return what it counted (``{"passed": 3}``), and all that it printed.

        ``environment`` is the whole of what it has, in place of these tests' own.
        """
        inherited = os.environ if environment is None else environment
        process = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-p",
                "no:cacheprovider",
                "-rs",
                *(arguments or ["docs"]),
            ],
            cwd=self.folder,
            env={**inherited, "LIVEDOCS_TIMEOUT": str(timeout)},
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
        process = subprocess.run(
            [sys.executable, *command, builder, source, f"_build/{builder}"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
        )
        index = self.folder / "_build" / builder / "index.html"
        return process.returncode, process.stderr, index.read_text() if index.exists() else ""

    def record(self) -> dict:
        return json.loads((self.folder / "_build/verified.json").read_text())


@pytest.fixture
def house(tmp_path):
    return House(tmp_path / "house")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format, *arguments):
        pass


@pytest.fixture(scope="session")
def site():
    """The address of the built site, without a slash at its end; the deck is in ``/slides``."""
    folder = ROOT / "_build" / "site"
    if not (folder / "index.html").exists():
        pytest.fail("there is no site to look at: make site builds it")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="session")
def browser():
    """Chromium, as Playwright drives it. Without one the test is skipped."""
    executable = find_chromium()
    if executable is None:
        pytest.skip("no Chromium to look at the site with: on Debian, apt install chromium")
    with sync_playwright() as playwright:
        # The sandbox needs a user who isn't root; the rest keeps Chromium off the network.
        arguments = [
            "--no-sandbox",
            "--disable-background-networking",
            "--disable-component-update",
        ]
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, site):
    """Open a page: ``open_page("/glossary.html", width=390, dark=True)``. Its errors are collected.

    The page has ``errors``, the messages of its console and its exceptions, and ``requests``, the
    addresses that it asked for.
    """
    contexts = []

    def open_page(path, width=1280, height=900, dark=False, **options):
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.errors, page.requests = [], []
        page.on("console", lambda said: said.type == "error" and page.errors.append(said.text))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(site + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
