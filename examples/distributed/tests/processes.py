"""Runs Python programs, like ``subprocess.run``, but without the time for the usual imports.

A short ``manage.py`` spends most of its time on importing Django. So one process imports Django,
without settings. Each program then runs in a fork of this process, with its own folder, environment
and exit status.

This needs ``os.fork``. On Windows, which has no ``os.fork``, each program starts a new Python.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
from functools import cached_property
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

#: The modules that most programs of a Django project import, and that need no settings.
DJANGO = (
    "django.contrib.admin",
    "django.contrib.auth.password_validation",
    "django.contrib.staticfiles.finders",
    "django.core.management.commands.migrate",
    "django.core.management.commands.shell",
    "django.core.servers.basehttp",
    "django.db.backends.sqlite3.base",
    "django.template.loader_tags",
    "django.views.debug",
    "tqdm",
)


class Processes:
    """Starts processes for Python programs, in which ``modules`` are already imported."""

    def __init__(self, *modules):
        self.modules = modules

    @cached_property
    def parent(self):
        parent = subprocess.Popen(
            # UTF-8, which is also Python's default if the environment has no locale.
            [sys.executable, "-X", "utf8", __file__, *self.modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for pytest. This process ends with its stdin
        )
        atexit.register(parent.communicate)
        return parent

    def run(self, *arguments, cwd, env=None, timeout=0, merged=False):
        """Run ``python`` with these arguments: a file, ``-c`` or ``-m``, then the program's own.

        Returns the same object as ``subprocess.run``, with the output as text. SIGALRM ends a
        program after ``timeout`` seconds. If ``merged``, errors are in ``stdout``.
        """
        arguments = [str(argument) for argument in arguments]
        if not hasattr(os, "fork"):
            return subprocess.run(
                [sys.executable, *arguments],
                cwd=cwd,
                env=env,
                timeout=timeout or None,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if merged else subprocess.PIPE,
                text=True,
            )
        with TemporaryDirectory() as folder:
            out = Path(folder, "stdout")
            errors = out if merged else Path(folder, "stderr")
            request = {
                "arguments": arguments,
                "cwd": str(cwd),
                "env": dict(os.environ if env is None else env),
                "files": [os.devnull, str(out), str(errors)],
                "timeout": timeout,
            }
            print(json.dumps(request), file=self.parent.stdin, flush=True)
            status = int(self.parent.stdout.readline())
            printed = [file.read_text() for file in dict.fromkeys([out, errors])]
        return subprocess.CompletedProcess(arguments, status, *printed)


#: For a project's ``manage.py``.
python = Processes(*DJANGO)


def fork_for_each_request():
    """Return the next request in a new process. In the parent process, never return."""
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            return json.loads(line)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    os._exit(0)


def run(arguments, cwd, env, files, timeout):
    """Turn this process into ``python`` with these arguments."""
    for number, name in enumerate(files):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND if number else os.O_RDONLY
        file = os.open(name, flags, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    # write_through would not be enough, because the buffer below would still keep the output.
    sys.stdout.reconfigure(line_buffering="PYTHONUNBUFFERED" in env)
    signal.alarm(timeout)
    what, *others = arguments
    program = others.pop(0) if what in ("-c", "-m") else what
    sys.argv = [what, *others]
    sys.path[0] = os.path.abspath("" if what in ("-c", "-m") else os.path.dirname(program))
    if what == "-c":
        exec(program, {"__name__": "__main__"})
    elif what == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        import_module(name)
    gc.freeze()  # forks share this memory as long as the garbage collector does not write to it
    run(**fork_for_each_request())
