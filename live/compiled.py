"""The packages, compiled. A reader then does not wait until her browser has compiled Django.

Only Pyodide's own version of Python can compile for it, so this needs Chromium. The script runs in
a worker, as a block of a page does.
"""

import base64
import hashlib
from pathlib import Path
from zipfile import ZipFile

from playwright.sync_api import sync_playwright

from live.browser import ARGUMENTS, find_chromium, serving

#: Compiles each zip into the folder of the page. The files of a library are beside their sources,
#: which tracebacks show. Python's own are in place of theirs, because Python does not unpack them.
SCRIPT = """
import compileall, pathlib, py_compile, shutil
for path in sorted(pathlib.Path("/home/Downloads").iterdir()):
    own = path.name == "python_stdlib.zip"
    shutil.unpack_archive(path, path.stem)
    assert compileall.compile_dir(
        path.stem,
        quiet=1,
        legacy=own,
        stripdir=path.stem,
        prependdir="/lib/python314.zip" if own else "/lib/python3.14/site-packages",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    for source in pathlib.Path(path.stem).rglob("*.py") if own else []:
        source.unlink()
    shutil.make_archive(path.stem, "zip", path.stem)
    shutil.rmtree(path.stem)
"""
#: Asks the worker to open an empty page, to run the script, and for the page's folder.
COMPILE = """async ([zips, text]) => {
  const worker = new Worker("worker.js", { type: "module" });
  const ask = (message) => new Promise((resolve, reject) => {
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.onmessage = ({ data }) => {
      if (data.failed) reject(new Error(data.failed));
      else if (data.answer !== undefined) resolve(data.answer);
    };
    worker.postMessage(message);
  });
  const packages = ["django.zip", "runner.zip"];
  await ask({ ask: "open", project: "page", zips, packages, bytes: 1 });
  const [{ right, got }] = await ask({ ask: "run", kind: "python", text, number: 1 });
  if (!right) throw new Error(got);
  const reader = new FileReader();
  reader.readAsDataURL(new Blob([await ask({ ask: "zip" })]));
  await new Promise((done) => { reader.onload = done; });
  return reader.result.split(",")[1];
}"""


def compile_zips(folder: Path, names: list[str], cache: Path) -> None:
    """Put compiled zips in place of those of the site's folder. Without Chromium, do nothing.

    The result is kept in ``cache``, a folder, until one of the zips changes.
    """
    digest = hashlib.sha256(SCRIPT.encode())
    for name in names:
        digest.update((folder / name).read_bytes())
    kept = cache / f"compiled-{digest.hexdigest()[:16]}.zip"
    if not kept.exists():
        if not (chromium := find_chromium()):
            return
        with serving(folder) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            page = browser.new_page()
            page.goto(f"{address}/live.css")  # Any file, because a worker must be of the same host.
            found = base64.b64decode(page.evaluate(COMPILE, [names, SCRIPT]))
            browser.close()
        for old in cache.glob("compiled-*.zip"):
            old.unlink()
        kept.write_bytes(found)
    with ZipFile(kept) as archive:
        for name in names:
            (folder / name).write_bytes(archive.read(f"page/{name}"))
