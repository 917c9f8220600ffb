"""How long a page takes in a browser, compared with the page's own run, in one go.

Needs the built site (``make site``) and Chromium. Run it with the site's environment:
``.venv/3.11/bin/python -m benchmarks.live``. For each page, a browser with a new profile opens the
page and presses the button, then opens it again with a warm cache. The same is done with packages
that are not compiled. Then pytest runs the same page on SQLite, with the same machine and Django.
"""

import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from playwright.sync_api import sync_playwright

from benchmarks import save, versions_of
from live import FOLDER, bundles
from live.browser import ARGUMENTS, find_chromium, serving

ROOT = Path(__file__).parents[1]
SITE = ROOT / "_build" / "site"
PAGES = ["routing", "patterns/functional", "patterns/replication", "patterns/sharding"]
PACKAGES = ["Django", "playwright"]
ROUNDS = 3


def in_browser(context, address):
    """Press the button. Return the seconds until Django is unpacked, until the first output, the
    sum of the blocks' seconds, and the seconds until the whole page has run."""
    page = context.new_page()
    page.goto(address, wait_until="networkidle")
    pressed = page.evaluate("performance.timeOrigin + performance.now()")
    page.click("#live > button")
    page.wait_for_selector("html[data-live=ready]", state="attached", timeout=300_000)
    times, blocks = page.evaluate(
        "[window.live.times, window.live.blocks.reduce((sum, {seconds}) => sum + seconds, 0)]"
    )
    ended = page.evaluate("performance.timeOrigin + performance.now()")
    page.close()
    unpacked, first, whole = [
        (at - pressed) / 1e3 for at in (times["unpacked"], times["first"], ended)
    ]
    return unpacked, first, blocks, whole


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
    if not (SITE / FOLDER / "runner.zip").exists():
        sys.exit("live: there is no built site with Pyodide. Run: make site")
    results = {}
    with sync_playwright() as playwright, serving(SITE) as compiled, sources_only() as sources:
        options = {"executable_path": find_chromium(), "args": ARGUMENTS}
        for name in PAGES:
            cold, warm, source, plain = [], [], [], []
            for _ in range(ROUNDS):
                for address, runs in ((compiled, [cold, warm]), (sources, [[], source])):
                    with TemporaryDirectory() as profile:
                        context = playwright.chromium.launch_persistent_context(profile, **options)
                        for run in runs:
                            run.append(in_browser(context, f"{address}/{name}.html"))
                        context.close()
                plain.append(in_cpython(name))
            results[name] = {
                "first output / Pyodide loaded and unpacked, cold": ratio(cold, 1, 0),
                "first output / Pyodide loaded and unpacked, warm": ratio(warm, 1, 0),
                "all blocks / the same blocks in CPython": round(
                    median(run[2] / it for run, it in zip(warm, plain, strict=True)), 2
                ),
                "first output, sources / compiled, warm": against(source, warm, 1),
                "whole page, sources / compiled, warm": against(source, warm, 3),
                "seconds to the first output, cold": round(median(run[1] for run in cold), 1),
                "seconds to the first output, warm": round(median(run[1] for run in warm), 1),
                "seconds of the whole page, warm": round(median(run[3] for run in warm), 1),
                "seconds of all blocks, warm": round(median(run[2] for run in warm), 1),
                "seconds of all blocks in CPython": round(median(plain), 1),
            }
            print(
                name, *(f"  {line}: {figure}" for line, figure in results[name].items()), sep="\n"
            )
    save("live", versions_of(PACKAGES), results)


@contextmanager
def sources_only():
    """Serve a copy of the site, whose packages are not compiled."""
    with TemporaryDirectory() as folder:
        copy = shutil.copytree(SITE, Path(folder, "site"))
        bundles.write(copy / FOLDER, compiled=False)
        with serving(copy) as address:
            yield address


def against(runs, others, which):
    """Return the median ratio of one of the figures, round by round."""
    pairs = zip(runs, others, strict=True)
    return round(median(run[which] / other[which] for run, other in pairs), 2)


def ratio(runs, over, under):
    return round(median(run[over] / run[under] for run in runs), 2)


if __name__ == "__main__":
    main()
