"""Python imports this when it starts. It records the files of a page's folder that are read."""

import gc
import os
import sys

import livedocs_databases

FOLDER = os.environ["LIVEDOCS_FOLDER"] + os.sep
LOG = os.open(os.environ["LIVEDOCS_LOADED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)


def note(event: str, arguments: tuple) -> None:
    if (
        event != "open"
        or not isinstance(arguments[0], str)
        or arguments[1] not in ("r", "rb", "rt")
    ):
        return
    path = os.path.abspath(arguments[0])
    if path.startswith(FOLDER):
        os.write(LOG, f"{path}\n".encode())


sys.addaudithook(note)
# The import of Django makes little garbage, but its collection took a sixth of each start.
gc.set_threshold(20_000, *gc.get_threshold()[1:])
livedocs_databases.watch()
if "LIVEDOCS_SERVER" in os.environ:
    import livedocs_engine

    livedocs_engine.watch()
if "LIVEDOCS_EVENTS" in os.environ:
    import livedocs_events

    livedocs_events.watch()
