"""The record of a run, ``_build/verified.json``: which blocks of which pages ran, on what. A pytest plugin writes it."""

import json
import platform
from pathlib import Path

import django
import pytest
from sybil.integration.pytest import SybilItem

from livedocs.pages import ROOT, Page, fingerprint

FILE = ROOT / "_build" / "verified.json"


def read() -> dict[str, dict]:
    """Each page's entry, by its path from the top, for the pages that are as they were when they ran."""
    entries = json.loads(FILE.read_text()) if FILE.exists() else {}
    return {name: entry for name, entry in entries.items() if is_current(ROOT / name, entry)}


def is_current(page: Path, entry: dict) -> bool:
    return page.exists() and fingerprint(page) == entry["fingerprint"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    try:
        return (yield)
    finally:
        if isinstance(item, SybilItem) and isinstance(page := item.example.document, Page):
            region, line = item.example.region, item.example.line
            lines = page.text.count("\n", region.start, region.end)
            block = {"kind": evaluator_name(region), "line": line, "end": line + lines}
            item.user_properties.append(("livedocs", (page.name, page.fingerprint, page.databases, block)))


def evaluator_name(region) -> str:
    return getattr(region.evaluator, "__name__", "skip")


class Recorder:
    """Gathers what the tests, of every worker if there are several, report."""

    def __init__(self):
        self.entries = read()

    def pytest_runtest_logreport(self, report):
        for name, value in report.user_properties:
            if name == "livedocs" and report.when == "call":
                self.note(*value, report)

    def note(self, page: str, fingerprint: str, databases: dict[str, str], block: dict, report) -> None:
        entry = self.entries.get(page)
        if entry is None or entry["fingerprint"] != fingerprint:
            entry = self.entries[page] = {"fingerprint": fingerprint, "databases": {}, "blocks": {}}
        entry["python"], entry["django"] = platform.python_version(), django.__version__
        entry["databases"].update(databases)
        outcome = {"outcome": report.outcome}
        if report.skipped:
            outcome["reason"] = report.longrepr[2].removeprefix("Skipped: ")
        entry["blocks"][str(block["line"])] = block | outcome

    def pytest_sessionfinish(self):
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(json.dumps(self.entries, indent=1, sort_keys=True))


def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder())
