"""Chromium, and a server of a folder: for the build, the tests, the PDF and the benchmark."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

NAMES = ("chromium", "chromium-browser", "google-chrome")
#: The sandbox needs a user who isn't root. The other options prevent network access.
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]


def find_chromium() -> str | None:
    """Return the path of Chromium: from ``CHROMIUM``, or else the system's."""
    return next(filter(None, map(shutil.which, (os.environ.get("CHROMIUM", ""), *NAMES))), None)


class Handler(SimpleHTTPRequestHandler):
    """Serves files, and writes no log."""

    def log_message(self, format, *arguments):
        pass


@contextmanager
def serving(folder: Path, handler: type[Handler] = Handler) -> Iterator[str]:
    """Serve a folder on this machine. Return its address, without a final slash."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=folder))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
