"""The zips that a reader can download: an example, or an app of an example.

A page links to a zip by ``:take:`replication/replicas```. The site has this zip, and a page that
begins in an empty folder finds the same zip in ``~/Downloads``.
"""

import re
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from livedocs.session import EXAMPLES, IGNORED, ROOT

TAKE = re.compile(r":take:`([\w/]+)`")


def zip_path(folder: str) -> str:
    """Return the path on the site of the zip of a folder of ``examples/``.

    The names of an example's zip and of the zip of an app with the same name are different.
    """
    return f"examples/{folder}.zip" if "/" in folder else f"examples/{folder}-example.zip"


def taken_by(text: str) -> list[str]:
    """Return the folders of ``examples/`` whose zips a page links to, if they exist."""
    return [folder for folder in TAKE.findall(text) if (EXAMPLES / folder).is_dir()]


def download(folders: list[str], to: Path) -> None:
    """Write the zips to this folder, under the names that a browser would give them."""
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
    # Each zip has the licence, so that a copy includes its terms.
    files[f"{folder.name}/LICENSE"] = ROOT / "LICENSE"
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, file in files.items():
            entry = ZipInfo(name)  # Its date is 1980, the same in each build.
            entry.create_system = 3  # Unix, because the permissions are Unix permissions.
            entry.external_attr = (0o100755 if file.stat().st_mode & 0o100 else 0o100644) << 16
            entry.compress_type = ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes())
