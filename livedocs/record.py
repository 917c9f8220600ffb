"""The record of what ran, ``_build/verified.json``, and the pytest plugin that writes it."""

import json
import platform
from pathlib import Path

import django
import pytest
from sybil.integration.pytest import SybilItem

from livedocs.pages import Page, fingerprint, text_of
from livedocs.servers import ENGINES, ServerError, find, server_of
from livedocs.session import ROOT

FILE = ROOT / "_build" / "verified.json"


def read() -> dict[str, dict[str, dict]]:
    """Return the runs of the pages that have not changed since they ran, by the pages' paths.

    A page has a run for each engine and version of Django, for example "postgresql, Django 5.2".
    """
    pages = json.loads(FILE.read_text()) if FILE.exists() else {}
    current = {name: current_runs(ROOT / name, runs) for name, runs in pages.items()}
    return {name: runs for name, runs in current.items() if runs}


def current_runs(page: Path, runs: dict) -> dict[str, dict]:
    now = page.exists() and fingerprint(page)
    # Ignore a record in the format of an older livedocs.
    runs = {name: run for name, run in runs.items() if isinstance(run, dict)}
    return {name: run for name, run in runs.items() if run.get("fingerprint") == now}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Add the block to its test report, which may come from a worker process."""
    page = item.example.document if isinstance(item, SybilItem) else None
    if not isinstance(page, Page) or not page.runs:
        return (yield)
    region, line = item.example.region, item.example.line
    kind = region.evaluator.__name__
    broken_before = page.broken
    try:
        return (yield)
    finally:
        block = {"kind": kind, "line": line, "text": text_of(page, region)}
        if events := page.session.take_events() if page.session else []:
            block["events"] = events
        databases = page.session.databases if page.session else {}
        ran = {"page": page.name, "fingerprint": page.fingerprint, "databases": databases}
        ran["engine"] = page.engine
        item.user_properties.append(
            ("livedocs", ran | {"block": block, "blocked": broken_before is not None})
        )


class Recorder:
    """Collects the reports of the tests, from all workers."""

    def __init__(self):
        self.pages = read()

    def pytest_runtest_logreport(self, report):
        for name, ran in report.user_properties:
            if name == "livedocs" and report.when == "call":
                self.note(report, **ran)

    def note(
        self,
        report,
        page: str,
        engine: str,
        fingerprint: str,
        databases: dict[str, str],
        block: dict,
        blocked: bool,
    ) -> None:
        on = {
            "engine": engine,
            "fingerprint": fingerprint,
            "python": platform.python_version(),
            "django": django.__version__,
        }
        runs = self.pages.setdefault(page, {})
        name = f"{engine}, Django {'.'.join(map(str, django.VERSION[:2]))}"
        entry = runs.get(name, {})
        if not entry.items() >= on.items():
            entry = on | {"databases": {}, "blocks": {}}
        # Drop the runs of an older state of the page.
        kept = {key: run for key, run in runs.items() if run["fingerprint"] == fingerprint}
        self.pages[page] = kept | {name: entry}
        entry["databases"].update(databases)
        block["outcome"] = "failed" if blocked else report.outcome
        if report.skipped:
            block["reason"] = report.longrepr[2].removeprefix("Skipped: ")
        entry["blocks"][str(block["line"])] = block

    def pytest_sessionfinish(self):
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(json.dumps(self.pages, indent=1, sort_keys=True))


def pytest_addoption(parser):
    parser.addoption(
        "--engine", choices=ENGINES, default="sqlite", help="the engine of the pages' databases"
    )


def pytest_configure(config):
    Page.engine = config.option.engine
    if Page.engine != "sqlite":
        try:
            find(server_of(Page.engine))
        except ServerError as error:
            raise pytest.UsageError(str(error)) from None
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder())
