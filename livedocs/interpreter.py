"""The Python process that a page's blocks run in: to a reader, ``python manage.py shell``."""

import doctest
import multiprocessing
import os
import re
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

from sybil import Document, Example
from sybil.evaluators.doctest import DocTestEvaluator
from sybil.evaluators.python import PythonEvaluator

#: How many seconds one block, or one command of a console block, may take.
TIMEOUT = float(os.environ.get("LIVEDOCS_TIMEOUT", 60))
#: How output is compared: ``...`` stands for anything, and 1 is not True.
FLAGS = doctest.ELLIPSIS | doctest.DONT_ACCEPT_TRUE_FOR_1
SETTINGS = re.compile(r"""["']DJANGO_SETTINGS_MODULE["'],\s*["']([\w.]+)["']""")


class Interpreter:
    """A process of a page's own, in its folder; with Django, where there is a ``manage.py``."""

    def __init__(self, page: Path, folder: Path, environment: dict[str, str]):
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        manage = folder / "manage.py"
        settings = manage.exists() and SETTINGS.search(manage.read_text())
        arguments = (theirs, str(page), str(folder), environment, settings and settings[1])
        self.process = context.Process(target=serve, args=arguments, daemon=True)
        self.process.start()
        theirs.close()

    def run(self, index: int) -> tuple[str, bool, dict[str, str]]:
        """Run the page's example of that index.

        Returns what went wrong ("" if nothing did), whether later blocks can still build on this
        one, and each connected alias's database.
        """
        try:
            self.connection.send(index)
            if not self.connection.poll(TIMEOUT):
                self.process.kill()
                return f"stopped: it was still running after {TIMEOUT:g} seconds\n", False, {}
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            return (
                f"the page's interpreter died, with exit code {self.process.exitcode}\n",
                False,
                {},
            )

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def serve(
    connection: Connection,
    page: str,
    folder: str,
    environment: dict[str, str],
    settings: str | None,
) -> None:
    """In the process: evaluate the examples whose indexes arrive, until it is stopped."""
    from livedocs.pages import PARSERS
    from livedocs.session import ROOT

    os.environ.clear()
    os.environ.update(environment)
    sys.dont_write_bytecode = True
    import livedocs.traced.sitecustomize  # noqa: F401

    sys.path[:] = [folder, *(entry for entry in sys.path if Path(entry).resolve() != ROOT)]
    os.chdir(folder)
    document = Document.parse(page, *PARSERS)
    document.namespace["__name__"] = "__main__"
    examples = list(document)
    ready = False
    while True:
        example = examples[connection.recv()]
        try:
            ready = ready or set_up_django(settings)
            answer = (*evaluate(example), databases() if settings else {})
        except (
            BaseException
        ) as error:  # SystemExit too: a block that ends the session is a block that failed.
            answer = (
                "".join(traceback.format_exception(type(error), error, within(error, page))),
                False,
                {},
            )
        connection.send(answer)


def set_up_django(settings: str | None) -> bool:
    if settings:
        os.environ["DJANGO_SETTINGS_MODULE"] = settings
        import django

        django.setup()
    return True


def evaluate(example: Example) -> tuple[str, bool]:
    if isinstance(example.parsed, doctest.Example):
        wrong = DocTestEvaluator(FLAGS)(example)
        return wrong, "Exception raised:" not in wrong
    PythonEvaluator()(example)
    return "", True


def within(error: BaseException, page: str):
    """The part of an error's traceback that begins in the page: what goes before is ours.

    All of it, when no line of the page is in it.
    """
    frame = error.__traceback__
    while frame and frame.tb_frame.f_code.co_filename != page:
        frame = frame.tb_next
    return frame or error.__traceback__


def databases() -> dict[str, str]:
    """Each alias that this process has connected to, with its database's name and version."""
    from django.db import connections

    connected = [
        database for database in connections.all(initialized_only=True) if database.connection
    ]
    return {
        database.alias: " ".join(
            [database.display_name, ".".join(map(str, database.get_database_version()))]
        )
        for database in connected
    }
