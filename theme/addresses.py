"""Where the site is published, and where its pages are edited, as whoever builds it says.

Without an answer nothing on the site names an address: one of another's would be worse than none.
What is no address is a warning, which ``make site`` turns into a failure: an error in ``conf.py``
is reported by Sphinx with thirty lines of its own.
"""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from sphinx.util import logging

logger = logging.getLogger(__name__)

SITE = re.compile(r"https?://[\w.-]+(:\d+)?(/[^\s?#]*)?")
# As a repository is cloned. It may hold a name and a token, which are nobody else's.
URL = re.compile(
    r"(?P<scheme>https?|ssh)://([^@/\s]*@)?(?P<host>[\w.-]+)(?P<port>:\d+)?/(?P<path>[^\s?#]+?)"
    r"(\.git)?/?"
)
SCP = re.compile(r"([\w.-]+@)?(?P<host>[\w-]+(\.[\w-]+)+):/?(?P<path>[^\s?#:]+)")
# What comes between a repository and a branch where a file is edited, by a word in the host's name.
EDIT = {"github": "edit", "gitlab": "-/edit", "codeberg": "_edit"}


def site(environment: Mapping[str, str]) -> str:
    """The site's address, with a slash at its end, or nothing. Read the Docs says it, too."""
    for name in ("SITE_URL", "READTHEDOCS_CANONICAL_URL"):
        if address := environment.get(name):
            if SITE.fullmatch(address):
                return address.rstrip("/") + "/"
            logger.warning(
                "%s=%s is not an address of a site: write https://example.org/docs/", name, address
            )
    return ""


def edits(environment: Mapping[str, str], checkout: Path) -> str:
    """What the path of a file follows where it is edited, with a slash at its end, or nothing."""
    if said := environment.get("REPOSITORY_URL"):
        if not (address := edit_address(said)):
            logger.warning(
                "REPOSITORY_URL=%s is not a repository on %s: write https://github.com/owner/name",
                said,
                ", ".join(EDIT),
            )
        return address
    return edit_address(remote(checkout))


def remote(checkout: Path) -> str:
    """The address of the git remote ``origin``, or nothing."""
    if not (checkout / ".git").exists():  # Git would look in the folders above.
        return ""
    try:
        command = ["git", "-C", checkout, "remote", "get-url", "origin"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:  # A checkout is built where there is no git, too.
        return ""


def edit_address(repository: str) -> str:
    if match := SCP.fullmatch(repository):
        repository = f"ssh://{match['host']}/{match['path']}"
    if match := URL.fullmatch(repository):
        # The port of ssh is no web server's.
        start = f"https://{match['host']}"
        if match["scheme"] != "ssh":
            start = f"{match['scheme']}://{match['host']}{match['port'] or ''}"
        for word, between in EDIT.items():
            if word in match["host"]:
                return f"{start}/{match['path']}/{between}/main/"
    return ""
