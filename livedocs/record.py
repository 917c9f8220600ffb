"""The record of what ran, ``_build/verified.json``, and the pytest plugin that writes it."""

import json
import platform
from pathlib import Path

import django
import pytest
from sybil.integration.pytest import SybilItem

from livedocs.pages import Page, fingerprint, text_of
from livedocs.servers import ENGINES, ServerError, find
from livedocs.session import ROOT

FILE = ROOT / "_build" / "verified.json"


def read() -> dict[str, dict]:
    """The entries of those pages that are still as they were when they ran, by their paths."""
    entries = json.loads(FILE.read_text()) if FILE.exists() else {}
    return {name: entry for name, entry in entries.items() if is_current(ROOT / name, entry)}


def is_current(page: Path, entry: dict) -> bool:
    return page.exists() and fingerprint(page) == entry["fingerprint"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Let the report of a block, which may come from a worker, say which block it is of."""
    page = item.example.document if isinstance(item, SybilItem) else None
    if not isinstance(page, Page):
        return (yield)
    region, line = item.example.region, item.example.line
    kind = region.evaluator.__name__
    broken_before = page.broken
    try:
        return (yield)
    finally:
        block = {"kind": kind, "line": line, "text": text_of(page, region)}
        databases = page.session.databases if page.session else {}
        ran = {"page": page.name, "fingerprint": page.fingerprint, "databases": databases}
        item.user_properties.append(
            ("livedocs", ran | {"block": block, "blocked": broken_before is not None})
        )


class Recorder:
    """Gathers what the tests, of every worker if there are several, report."""

    def __init__(self):
        self.entries = read()

    def pytest_runtest_logreport(self, report):
        for name, ran in report.user_properties:
            if name == "livedocs" and report.when == "call":
                self.note(report, **ran)

    def note(
        self,
        report,
        page: str,
        fingerprint: str,
        databases: dict[str, str],
        block: dict,
        blocked: bool,
    ) -> None:
        on = {
            "fingerprint": fingerprint,
            "python": platform.python_version(),
            "django": django.__version__,
        }
        entry = self.entries.setdefault(page, {})
        if not entry.items() >= on.items():
            self.entries[page] = entry = on | {"databases": {}, "blocks": {}}
        entry["databases"].update(databases)
        block["outcome"] = "failed" if blocked else report.outcome
        if report.skipped:
            block["reason"] = report.longrepr[2].removeprefix("Skipped: ")
        entry["blocks"][str(block["line"])] = block

    def pytest_sessionfinish(self):
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(json.dumps(self.entries, indent=1, sort_keys=True))


def pytest_addoption(parser):
    parser.addoption(
        "--engine", choices=ENGINES, default="sqlite", help="what pages' databases are on"
    )


def pytest_configure(config):
    Page.engine = config.option.engine
    if Page.engine != "sqlite":
        try:
            find("postgresql" if Page.engine == "mixed" else Page.engine)
        except ServerError as error:
            raise pytest.UsageError(str(error)) from None
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder())
