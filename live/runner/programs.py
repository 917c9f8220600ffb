"""Programs: Python with its arguments, each as a `Process` that runs to its end."""

import io
import os
import runpy
import signal
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout

from runner.mends import LIBRARIES, Exit, NotHere
from runner.process import Process


def run(folder, argv, out, err, environment, given=""):
    """Run a program in a folder, with an environment and a standard input. Return its status."""
    name, *rest = argv
    name = os.path.basename(name)
    if name == "django-admin":
        rest = ["-m", "django", *rest]
    elif not name.startswith("python"):
        raise NotHere(f"it uses the command {name}")
    if not rest:
        raise NotHere("it starts Python's own prompt: write Python in a block of its own")
    if "runserver" in rest:
        raise NotHere("it starts a server")
    if rest[0] == "-W" or "PYTHONHASHSEED" in environment:
        raise NotHere("it starts Python with other options")
    while rest[0] in ("-u", "-B", "-Wall"):
        rest.pop(0)
    module = rest[0] in ("-c", "-m")
    first = folder if module else os.path.dirname(os.path.join(folder, rest[0]))
    process = Process(folder, first, rest[1:] if module else rest, dict(environment))
    main, stdin = sys.modules["__main__"], sys.stdin
    try:
        with redirect_stdout(out), redirect_stderr(err):
            sys.stdin = io.StringIO(given)
            return process.run(lambda: run_python(folder, rest))
    finally:
        sys.modules["__main__"], sys.stdin = main, stdin
        process.end()


def run_python(folder, argv):
    """Run ``-c code``, ``-m module`` or a script, with `sys.argv` set. Return the exit status."""
    try:
        if argv[0] == "-c":
            sys.argv = ["-c", *sys.argv[1:]]
            exec(compile(argv[1], "<string>", "exec"), {"__name__": "__main__"})
        elif argv[0] == "-m":
            runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(argv[0], run_name="__main__")
    except (SystemExit, Exit) as ended:
        status = ended.args[0] if ended.args else 0
        if status == 128 + signal.SIGKILL:
            print("Killed", file=sys.stderr)
        if isinstance(status, int | None):
            return status or 0
        print(status, file=sys.stderr)
        return 1
    except NotHere:
        raise
    except BaseException as error:
        print(traceback_of(error, folder), end="", file=sys.stderr)
        return 1
    return 0


def traceback_of(error, folder):
    """Return an error's traceback from the page's own frames on, with paths in the folder."""
    stack, ours = error.__traceback__, (f"{LIBRARIES}runner", "<frozen runpy>")
    while stack and stack.tb_frame.f_code.co_filename.startswith(ours):
        stack = stack.tb_next
    return "".join(traceback.format_exception(type(error), error, stack)).replace(f"{folder}/", "")
