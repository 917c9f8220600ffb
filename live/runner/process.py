"""A process: modules, environment, and all else of which Python has one for each process.

A process of the page, such as its interpreter or ``python manage.py migrate``, is a `Process`. Its
state is swapped in while it runs.
"""

import atexit
import contextvars
import gc
import logging
import os
import signal
import sys
import threading
import warnings
import weakref
from contextlib import suppress

from runner import mends

ENVIRONMENT = {"COLUMNS": "80", "HOME": "/home", "LC_ALL": "C.UTF-8", "PATH": "/bin", "TZ": "UTC"}
SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: What all processes share: Python's own modules and this package.
OWN = {"runner", *sys.stdlib_module_names}


def is_shared(module):
    return module in SHARED or module.partition(".")[0] in OWN


def state_of_python():
    manager = logging.root.manager
    return {
        "modules": {name: it for name, it in sys.modules.items() if not is_shared(name)},
        "environment": dict(os.environ),
        "argv": sys.argv,
        "path": sys.path[:],
        "folder": os.getcwd(),
        "filters": warnings.filters[:],
        "loggers": (dict(manager.loggerDict), logging.root.handlers[:], manager.disable),
        "signals": {number: signal.getsignal(number) for number in SIGNALS},
        "threads": dict(threading._active),
        "finalizers": dict(weakref.finalize._registry),
    }


def restore(state):
    for name in [name for name in sys.modules if not is_shared(name)]:
        del sys.modules[name]
    sys.modules.update(state["modules"])
    os.environ.clear()
    os.environ.update(state["environment"])
    sys.argv, sys.path[:] = state["argv"], state["path"]
    os.chdir(state["folder"])
    warnings.filters[:] = state["filters"]
    warnings._filters_mutated()
    loggers, logging.root.handlers[:], logging.root.manager.disable = state["loggers"]
    logging.root.manager.loggerDict.clear()
    logging.root.manager.loggerDict.update(loggers)
    for number, handler in state["signals"].items():
        signal.signal(number, handler)
    for registry, own in (
        (threading._active, state["threads"]),
        (weakref.finalize._registry, state["finalizers"]),
    ):
        registry.clear()
        registry.update(own)
    for path in [path for path in sys.path_importer_cache if path.startswith("/home/")]:
        del sys.path_importer_cache[path]


class Process:
    """A process, whose state is swapped in while it runs. ``first`` is its first import folder."""

    def __init__(self, folder, first, argv, environment):
        own = {"folder": folder, "argv": argv, "environment": environment}
        self.state = FRESH | own | {"path": [first, *FRESH["path"]]}
        self.context = contextvars.Context()

    def run(self, function):
        """Call the function with the state of this process."""
        outside = state_of_python()
        restore(self.state)
        try:
            return self.context.run(function)
        finally:
            self.state = state_of_python()
            restore(outside)

    def end(self):
        self.run(end_process)
        self.state = None
        gc.collect()


def end_process():
    atexit._run_exitfuncs()
    if "django.db" in sys.modules:
        with suppress(Exception):  # The settings may be wrong.
            sys.modules["django.db"].connections.close_all()


os.environ.clear()
os.environ.update(ENVIRONMENT)
sys.dont_write_bytecode, sys.executable = True, "/bin/python"
mends.apply()
SHARED = {*sys.modules}
FRESH = state_of_python()
