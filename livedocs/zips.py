"""The zips that a reader takes: of an app of an example, or of an example.

A page links one by ``:take:`replication/replicas```. The site offers it, and a page that begins in
an empty folder finds the same zip in ``~/Downloads``.
"""

import re
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from livedocs.session import EXAMPLES, IGNORED, ROOT

TAKE = re.compile(r":take:`([\w/]+)`")


def zip_path(folder: str) -> str:
    """Where the zip of a folder of ``examples/`` is on the site.

    Its name tells an example from an app of the same name.
    """
    return f"examples/{folder}.zip" if "/" in folder else f"examples/{folder}-example.zip"


def taken_by(text: str) -> list[str]:
    """The folders of ``examples/`` whose zips a page links: those that are there."""
    return [folder for folder in TAKE.findall(text) if (EXAMPLES / folder).is_dir()]


def download(folders: list[str], to: Path) -> None:
    """Put the zips where a browser would, under the names that it gives them."""
    to.mkdir()
    for folder in folders:
        write_zip(EXAMPLES / folder, to / Path(zip_path(folder)).name)


def write_zip(folder: Path, path: Path) -> None:
    """Zip a folder's sources. The same sources give the same bytes."""
    files = {
        file.relative_to(folder.parent).as_posix(): file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not IGNORED("", file.relative_to(folder).parts)
    }
    # What is taken from here says on which terms, also when it is far from here.
    files[f"{folder.name}/LICENSE"] = ROOT / "LICENSE"
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, file in files.items():
            entry = ZipInfo(name)  # Of 1980, which is the same in each build.
            entry.create_system = 3  # Unix, whose permissions these are.
            entry.external_attr = (0o100755 if file.stat().st_mode & 0o100 else 0o100644) << 16
            entry.compress_type = ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes())
