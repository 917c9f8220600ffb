"""The addresses where the site is published, and where its pages are edited.

The person who builds the site sets them. Without them, nothing on the site has an address, because
a wrong address would be worse. A wrong value is a warning, which ``make site`` turns into an error.
(For an exception in ``conf.py``, Sphinx would print thirty lines.)
"""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from sphinx.util import logging

logger = logging.getLogger(__name__)

SITE = re.compile(r"https?://[\w.-]+(:\d+)?(/[^\s?#]*)?")
# The address from which a repository is cloned. It may have a user and a token, which are secret.
URL = re.compile(
    r"(?P<scheme>https?|ssh)://([^@/\s]*@)?(?P<host>[\w.-]+)(?P<port>:\d+)?/(?P<path>[^\s?#]+?)"
    r"(\.git)?/?"
)
SCP = re.compile(r"([\w.-]+@)?(?P<host>[\w-]+(\.[\w-]+)+):/?(?P<path>[^\s?#:]+)")
# The path between a repository and a branch for editing a file, by a word in the host's name.
EDIT = {"github": "edit", "gitlab": "-/edit", "codeberg": "_edit"}


def site(environment: Mapping[str, str]) -> str:
    """Return the site's address with a slash at its end, or "". Read the Docs also sets it."""
    for name in ("SITE_URL", "READTHEDOCS_CANONICAL_URL"):
        if address := environment.get(name):
            if SITE.fullmatch(address):
                return address.rstrip("/") + "/"
            logger.warning(
                "%s=%s is not an address of a site: write https://example.org/docs/", name, address
            )
    return ""


def edits(environment: Mapping[str, str], checkout: Path) -> str:
    """Return the address for editing a file, up to the file's path, with a slash; or ""."""
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
    """Return the address of the git remote ``origin``, or ""."""
    if not (checkout / ".git").exists():  # Else git would look in the folders above.
        return ""
    try:
        command = ["git", "-C", checkout, "remote", "get-url", "origin"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:  # The machine has no git.
        return ""


def edit_address(repository: str) -> str:
    if match := SCP.fullmatch(repository):
        repository = f"ssh://{match['host']}/{match['path']}"
    if match := URL.fullmatch(repository):
        # The port of ssh is not the port of the web server.
        start = f"https://{match['host']}"
        if match["scheme"] != "ssh":
            start = f"{match['scheme']}://{match['host']}{match['port'] or ''}"
        for word, between in EDIT.items():
            if word in match["host"]:
                return f"{start}/{match['path']}/{between}/main/"
    return ""
