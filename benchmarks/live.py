"""How long a page takes in a browser, compared with the page's own run, in one go.

Needs the built site (``make site``) and Chromium. Run it with the site's environment:
``.venv/3.11/bin/python -m benchmarks.live``. For each page, a browser with a new profile opens the
page and presses the button, then opens it again with a warm cache. Then pytest runs the same page
on SQLite, with the same machine and Django.
"""

import os
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Thread
from xml.etree import ElementTree

from playwright.sync_api import sync_playwright

from benchmarks import save, versions_of
from slides.to_pdf import find_chromium

ROOT = Path(__file__).parents[1]
SITE = ROOT / "_build" / "site"
PAGES = ["routing", "patterns/functional", "patterns/replication", "patterns/sharding"]
PACKAGES = ["Django", "playwright"]
ROUNDS = 3


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format, *arguments):
        pass


def in_browser(context, address):
    """Press the button. Return the seconds until Django is unpacked, until the first output, and
    the sum of the blocks' seconds."""
    page = context.new_page()
    page.goto(address, wait_until="networkidle")
    pressed = page.evaluate("performance.timeOrigin + performance.now()")
    page.click("#live > button")
    page.wait_for_selector("html[data-live=ready]", state="attached", timeout=300_000)
    times, blocks = page.evaluate(
        "[window.live.times, window.live.blocks.reduce((sum, {seconds}) => sum + seconds, 0)]"
    )
    page.close()
    return (times["unpacked"] - pressed) / 1e3, (times["first"] - pressed) / 1e3, blocks


def in_cpython(name):
    """Run the page's blocks with pytest, in one process. Return the sum of their seconds."""
    with TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            f"docs/{name}.rst",
            "-p",
            "no:cacheprovider",
        ]
        subprocess.run(
            [*command, f"--junitxml={report}"], cwd=ROOT, check=True, capture_output=True
        )
        cases = ElementTree.parse(report).iter("testcase")
        return sum(float(case.get("time")) for case in cases)


def main():
    if not (SITE / "_static" / "live" / "runner.zip").exists():
        sys.exit("live: there is no built site with Pyodide. Run: make site")
    handler = partial(Quiet, directory=SITE)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    results = {}
    with sync_playwright() as playwright:
        options = {"executable_path": find_chromium()}
        if os.geteuid() == 0:
            options["args"] = ["--no-sandbox"]
        for name in PAGES:
            address = f"http://127.0.0.1:{server.server_port}/{name}.html"
            cold, warm, plain = [], [], []
            for _ in range(ROUNDS):
                with TemporaryDirectory() as profile:
                    context = playwright.chromium.launch_persistent_context(profile, **options)
                    cold.append(in_browser(context, address))
                    warm.append(in_browser(context, address))
                    context.close()
                plain.append(in_cpython(name))
            results[name] = {
                "first output / Pyodide loaded and unpacked, cold": ratio(cold, 1, 0),
                "first output / Pyodide loaded and unpacked, warm": ratio(warm, 1, 0),
                "all blocks / the same blocks in CPython": round(
                    median(run[2] / it for run, it in zip(warm, plain, strict=True)), 2
                ),
                "seconds to the first output, cold": round(median(run[1] for run in cold), 1),
                "seconds to the first output, warm": round(median(run[1] for run in warm), 1),
                "seconds of all blocks, warm": round(median(run[2] for run in warm), 1),
                "seconds of all blocks in CPython": round(median(plain), 1),
            }
            print(
                name, *(f"  {line}: {figure}" for line, figure in results[name].items()), sep="\n"
            )
    server.shutdown()
    save("live", versions_of(PACKAGES), results)


def ratio(runs, over, under):
    return round(median(run[over] / run[under] for run in runs), 2)


if __name__ == "__main__":
    main()
