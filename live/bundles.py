"""The files that a page fetches when it runs in a browser: Pyodide, Django, and our own scripts."""

import re
import shutil
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from live.compiled import compile_zips
from livedocs.session import ROOT

STATIC = Path(__file__).parent / "static"
#: Where ``make site`` stores the wheel of ``live/requirements.txt``.
WHEELS = ROOT / "_build" / "pyodide"
#: Pyodide's files, which are the same as in its own package.
PYODIDE = ["pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip"]
#: What the examples use, and what their tests use.
PACKAGES = {
    "django.zip": ["django", "asgiref", "sqlparse", "tqdm"],
    "runner.zip": ["live.runner"],
    "pytest.zip": ["pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments"]
    + ["pytest_django"],
}
#: The files of these packages that no page needs.
LEFT_OUT = re.compile(
    r"__pycache__|/static/|locale/(?!en/|__init__)|\.(po|exe)$"
    r"|django/contrib/(gis|postgres|flatpages|redirects|sitemaps|syndication|humanize|admindocs)/"
    r"|django/db/backends/oracle/"
    r"|pygments/lexers/(?!__init__|_mapping|diff|python|special)|pygments/styles/(?!__init__|_mapping)"
)


def available() -> Path | None:
    """Return the wheel that has Pyodide, or None if it was not downloaded."""
    return next(WHEELS.glob("*.whl"), None)


def write(folder: Path, compiled: bool = True) -> None:
    """Write all files to a folder of the site. The zips are compiled if there is Chromium."""
    folder.mkdir(parents=True, exist_ok=True)
    with ZipFile(available()) as wheel:
        for name in PYODIDE:
            (folder / name).write_bytes(wheel.read(f"flet_web/web/pyodide/{name}"))
    for script in STATIC.iterdir():
        shutil.copy(script, folder)
    for name, packages in PACKAGES.items():
        write_packages(folder / name, packages)
    if compiled:
        compile_zips(folder, ["python_stdlib.zip", *PACKAGES], WHEELS)


def write_packages(path: Path, packages: list[str]) -> None:
    """Zip the sources of installed packages. The same sources give the same bytes."""
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for package in packages:
            origin = Path(find_spec(package).origin)
            is_module = origin.name != "__init__.py"
            top = origin.parent if is_module else origin.parents[1]
            for file in [origin] if is_module else sorted(origin.parent.rglob("*")):
                name = file.relative_to(top).as_posix()
                if file.is_file() and not LEFT_OUT.search(name):
                    add(archive, name, file)
            # pytest finds a plugin by these files.
            for file in distribution_files(package):
                add(archive, f"{file.parent.name}/{file.name}", file)


def distribution_files(package: str) -> list[Path]:
    if package != "pytest_django":
        return []
    files = distribution(package).files or []
    return [Path(file.locate()) for file in files if file.name in ("METADATA", "entry_points.txt")]


def add(archive: ZipFile, name: str, file: Path) -> None:
    entry = ZipInfo(name)
    entry.compress_type = ZIP_DEFLATED
    archive.writestr(entry, file.read_bytes())
