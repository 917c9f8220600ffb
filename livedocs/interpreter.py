"""The Python process that a page's blocks run in: to a reader, ``python manage.py shell``.

The process runs this file as a program, which imports nothing else of livedocs: it is sent each
block, and needs no page.
"""

import doctest
import io
import os
import re
import subprocess
import sys
import traceback
from contextlib import redirect_stdout
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from sybil.evaluators.doctest import OutputChecker

#: How many seconds one block, or one command of a console block, may take.
TIMEOUT = float(os.environ.get("LIVEDOCS_TIMEOUT", 60))
#: How output is compared: ``...`` stands for anything, and 1 is not True.
FLAGS = doctest.ELLIPSIS | doctest.DONT_ACCEPT_TRUE_FOR_1
SETTINGS = re.compile(r"""["']DJANGO_SETTINGS_MODULE["'],\s*["']([\w.]+)["']""")


class Interpreter:
    """A process of a page's own, in its folder; with Django, where there is a ``manage.py``."""

    def __init__(self, page: Path, folder: Path, environment: dict[str, str]):
        self.connection, theirs = Pipe()
        manage = folder / "manage.py"
        settings = manage.exists() and SETTINGS.search(manage.read_text())
        with theirs:
            # -P, since the reader's Python does not look for modules beside this file.
            self.process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno()), page]
                + ([settings[1]] if settings else []),
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def run(self, block: str | doctest.Example, line: int) -> tuple[str, bool]:
        """Run a block, Python or an example at the prompt, that begins on that line of the page.

        Returns what went wrong ("" if nothing did), and whether later blocks can still build on
        this one.
        """
        try:
            self.connection.send((block, line))
            if not self.connection.poll(TIMEOUT):
                self.process.kill()
                return f"stopped: it was still running after {TIMEOUT:g} seconds\n", False
            return self.connection.recv()
        except (EOFError, OSError):
            code = self.process.wait()
            return f"the page's interpreter died, with exit code {code}\n", False

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.connection.close()


def serve(descriptor: str, page: str, settings: str | None = None) -> None:
    """In the process: run the blocks that arrive, until no more can."""
    connection = Connection(int(descriptor))
    os.set_inheritable(connection.fileno(), False)
    sys.path.insert(0, os.getcwd())
    namespace = {"__name__": "__main__"}
    ready = False
    while True:
        try:
            block, line = connection.recv()
        except EOFError:
            return
        try:
            ready = ready or set_up_django(settings)
            # Where the page has a timeline, its events are noted in this process too.
            events = sys.modules.get("livedocs_events")
            if events:
                events.before_block()
            answer = evaluate(block, line, page, namespace)
            if events:
                events.after_block(namespace)
        # SystemExit too: a block that ends the session is a block that failed.
        except BaseException as error:
            answer = traceback_of(error), False
        connection.send(answer)


def set_up_django(settings: str | None) -> bool:
    if settings:
        os.environ["DJANGO_SETTINGS_MODULE"] = settings
        import django

        django.setup()
    return True


def evaluate(
    block: str | doctest.Example, line: int, page: str, namespace: dict
) -> tuple[str, bool]:
    prompt = isinstance(block, doctest.Example)
    # Blank lines before it, so that it is compiled with the page's line numbers.
    source = "\n" * (line - 1) + (block.source if prompt else block)
    if not prompt:
        exec(compile(source, page, "exec", dont_inherit=True), namespace)
        return "", True
    printed, usable = io.StringIO(), True
    with redirect_stdout(printed):
        try:
            exec(compile(source, page, "single", dont_inherit=True), namespace)
        except BaseException as error:
            usable = "Traceback (most recent call last):\n" in block.want
            print(traceback_of(error), end="")
    # The dots that stand for a traceback's stack are indented as one likes.
    want = re.sub(r"^(Traceback .*:\n) +\.\.\.$", r"\1...", block.want, flags=re.MULTILINE)
    got, checker = printed.getvalue(), OutputChecker()
    got += "" if got.endswith("\n") or not got else "\n"
    if checker.check_output(want, got, FLAGS):
        return "", True
    return checker.output_difference(block, got, FLAGS), usable


def traceback_of(error: BaseException) -> str:
    """An error's traceback, from the page's first line in it: what goes before is ours."""
    frame = error.__traceback__
    while frame and frame.tb_frame.f_code.co_filename == __file__:
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(error), error, frame))


if __name__ == "__main__":
    serve(*sys.argv[1:])
