"""The Python process in which a page's blocks run: for a reader, ``python manage.py shell``.

The process runs this file as a program. It imports nothing else of livedocs, because it receives
each block and does not need the page.
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

#: The maximum number of seconds for one block, or for one command of a console block.
TIMEOUT = float(os.environ.get("LIVEDOCS_TIMEOUT", 60))
#: How output is compared: ``...`` stands for anything, and 1 is not True.
FLAGS = doctest.ELLIPSIS | doctest.DONT_ACCEPT_TRUE_FOR_1
SETTINGS = re.compile(r"""["']DJANGO_SETTINGS_MODULE["'],\s*["']([\w.]+)["']""")


class Interpreter:
    """A page's own process, in the page's folder. If there is a ``manage.py``, Django is set up."""

    def __init__(self, page: Path, folder: Path, environment: dict[str, str]):
        self.connection, theirs = Pipe()
        manage = folder / "manage.py"
        settings = manage.exists() and SETTINGS.search(manage.read_text())
        with theirs:
            # -P: like the reader's Python, it must not find the modules in this file's folder.
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

        Returns the error ("" if there is none), and whether later blocks can still run.
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
    """In the process: run the blocks that arrive, until the connection is closed."""
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
            # If the page has a timeline, this process also records events.
            events = sys.modules.get("livedocs_events")
            if events:
                events.before_block()
            answer = evaluate(block, line, page, namespace)
            if events:
                events.after_block(namespace)
        # Including SystemExit: a block that ends the session has failed.
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
    # Blank lines above the source give it the line numbers of the page.
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
    # The dots in place of a traceback's stack may have any indentation.
    want = re.sub(r"^(Traceback .*:\n) +\.\.\.$", r"\1...", block.want, flags=re.MULTILINE)
    got, checker = printed.getvalue(), OutputChecker()
    got += "" if got.endswith("\n") or not got else "\n"
    if checker.check_output(want, got, FLAGS):
        return "", True
    return checker.output_difference(block, got, FLAGS), usable


def traceback_of(error: BaseException) -> str:
    """Return an error's traceback without the frames of this file, which come first."""
    frame = error.__traceback__
    while frame and frame.tb_frame.f_code.co_filename == __file__:
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(error), error, frame))


if __name__ == "__main__":
    serve(*sys.argv[1:])
