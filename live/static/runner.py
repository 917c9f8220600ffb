"""A page's session in a browser, where there is one process: its files, commands and Python.

``worker.js`` loads this file into Pyodide and asks a `Page`. A process of the page, such as its
interpreter or ``python manage.py migrate``, is the state of Python that `Process` swaps in.
"""

import _thread
import asyncio
import atexit
import concurrent.futures.thread
import contextvars
import copy
import difflib
import doctest
import errno
import fcntl
import gc
import glob
import hashlib
import hmac
import importlib
import io
import itertools
import json
import linecache
import logging
import multiprocessing
import os
import re
import runpy
import select
import shutil
import signal
import subprocess
import sys
import threading
import traceback
import types
import warnings
import weakref
import zoneinfo
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import partial
from importlib.machinery import PathFinder, SourceFileLoader

import tqdm

ENVIRONMENT = {"COLUMNS": "80", "HOME": "/home", "LC_ALL": "C.UTF-8", "PATH": "/bin", "TZ": "UTC"}
FLAGS = doctest.ELLIPSIS | doctest.DONT_ACCEPT_TRUE_FOR_1
SETTINGS = re.compile(r"""["']DJANGO_SETTINGS_MODULE["'],\s*["']([\w.]+)["']""")
LIBRARIES = "/lib/python3.14/site-packages/"
EXAMPLE = re.compile(r"^>>> (.*(?:\n\.\.\.(?: .*|$))*)\n?((?:(?!>>> ).*(?:\n|\Z))*)", re.MULTILINE)
COMMAND = re.compile(r"^\$ (.*(?:\n> .*)*)\n?((?:(?!\$ ).*(?:\n|\Z))*)", re.MULTILINE)


class NotHere(BaseException):
    """A block needs what a browser lacks. No ``except Exception`` of the page may catch this."""


class Exit(BaseException):
    """`os._exit()` was called."""


# What Python lacks in a browser.


def pbkdf2_hmac(name, password, salt, iterations, dklen=None):
    """Hash a password as `hashlib` does, but with at most 1000 iterations: this is slower code."""
    whole = b""
    for block in itertools.count(1):
        if len(whole) >= (dklen or hashlib.new(name).digest_size):
            return whole[:dklen]
        last = hmac.digest(password, salt + block.to_bytes(4, "big"), name)
        total = int.from_bytes(last)
        for _ in range(min(iterations, 1000) - 1):
            last = hmac.digest(password, last, name)
            total ^= int.from_bytes(last)
        whole += total.to_bytes(len(last), "big")


class Loop(asyncio.BaseEventLoop):
    """An event loop without sockets: there is never anything to wait for."""

    _selector = types.SimpleNamespace(select=lambda timeout: [])

    def _process_events(self, events): ...
    def _write_to_self(self): ...


class Policy(asyncio.events._BaseDefaultEventLoopPolicy):
    _loop_factory = Loop


def run_at_once(function, ident, context):
    """Run what a thread would run, to its end, with the thread's identity and context."""
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    before, get_ident.now = get_ident.now, ident
    try:
        return context.run(function)
    finally:
        get_ident.now = before
        asyncio._set_running_loop(loop)


def start_thread(thread):
    """Run a thread to its end. A daemon thread, such as a heartbeat, never gets its turn."""

    def run():
        threading._active[get_ident()] = thread
        try:
            thread.run()
        except Exception:
            threading.excepthook(threading.ExceptHookArgs([*sys.exc_info(), thread]))
        finally:
            del threading._active[get_ident()]

    thread._ident = next(get_ident.all)
    thread._os_thread_handle = _thread._make_thread_handle(thread._ident)
    thread._started.set()
    if not thread.daemon:
        run_at_once(run, thread._ident, contextvars.Context())
    thread._os_thread_handle._set_done()


class Pool(concurrent.futures.Executor):
    """A pool of threads, in which the first thread runs each call when it is submitted."""

    def __init__(self, *arguments, **options):
        self.thread = next(get_ident.all), contextvars.Context()

    def submit(self, function, /, *arguments, **options):
        future = concurrent.futures.Future()
        try:
            future.set_result(run_at_once(partial(function, *arguments, **options), *self.thread))
        except Exception as error:
            future.set_exception(error)
        return future


def refuse(what):
    def refused(*arguments, **options):
        raise NotHere(what)

    return refused


def exit_at_once(status):
    raise Exit(status)


def kill(process, number):
    """End the process, which can only be this one. What it did not commit is lost, as in a kill."""
    raise Exit(128 + number)


def flock(file, operation):
    """Lock a file for a process, as the system does. The keys of `locks` are the files' inodes."""
    inode = os.fstat(file if isinstance(file, int) else file.fileno()).st_ino
    if operation & fcntl.LOCK_UN:
        locks.pop(inode, None)
    elif locks.setdefault(inode, Process.current) is not Process.current:
        if operation & fcntl.LOCK_NB:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        raise NotHere("it waits for a lock of another process")


locks = {}


def mend():
    fcntl.flock = flock
    hashlib.pbkdf2_hmac = pbkdf2_hmac
    tqdm.tqdm.monitor_interval = 0  # Its monitor is a thread.
    asyncio._set_running_loop(None)
    asyncio.events._set_event_loop_policy(Policy())
    threading.get_ident = get_ident
    threading._active[get_ident()] = threading.main_thread()
    threading.Barrier.wait = refuse("it needs threads that run at the same time")
    threading.local = importlib.import_module("_threading_local").local
    threading.Thread.start = start_thread
    concurrent.futures.ThreadPoolExecutor = concurrent.futures.thread.ThreadPoolExecutor = Pool
    multiprocessing.set_start_method("spawn")
    multiprocessing.process.BaseProcess.start = refuse("it starts several processes")
    subprocess.Popen = refuse("it starts a process that runs beside others")
    subprocess.run = run_command
    # Django's shell asks whether there is standard input, which here is a text.
    select.select = lambda reads, writes, others, timeout=None: (reads, writes, [])
    os._exit, os.kill, os.geteuid = exit_at_once, kill, os.getuid
    os.register_at_fork = lambda **functions: None  # Nothing forks, and it would keep them.
    sys.meta_path.insert(0, Libraries)
    SourceFileLoader.get_code = lambda loader, name: Libraries.get_code(loader, name)
    # There is no time zone database. This is UTC's own file.
    block = b"TZif2" + bytes(31) + b"\0\0\0\1\0\0\0\4" + bytes(6) + b"UTC\0"
    os.makedirs("/usr/share/zoneinfo", exist_ok=True)
    with open("/usr/share/zoneinfo/UTC", "wb") as file:
        file.write(block + block + b"\nUTC0\n")
    zoneinfo.reset_tzpath(["/usr/share/zoneinfo"])


def get_ident():
    return get_ident.now


get_ident.now, get_ident.all = 1, itertools.count(2)


def run_command(args, stdout=None, stderr=None, env=None, check=False, **options):
    """Take the place of `subprocess.run`, which waits for the end of the command."""
    if "user" in options:
        raise NotHere("it runs a command as another user")
    out, err = io.StringIO(), io.StringIO()
    args = args if isinstance(args, list) else ["sh", "-c", args]
    status = page.child(args, out, out if stderr == subprocess.STDOUT else err, env)
    capture, text = options.get("capture_output"), options.get("text")
    kept = [
        (said.getvalue() if text else said.getvalue().encode())
        if capture or wanted == subprocess.PIPE
        else None
        for said, wanted in ((out, stdout), (err, stderr))
    ]
    if check and status:
        raise subprocess.CalledProcessError(status, args, *kept)
    return subprocess.CompletedProcess(args, status, *kept)


class Libraries:
    """Finds and compiles each module of a library once, because libraries do not change."""

    names, specs, compiled = set(os.listdir(LIBRARIES)), {}, {}

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] not in cls.names:
            return None
        if name not in cls.specs:
            cls.specs[name] = PathFinder.find_spec(name, path)
        return copy.copy(cls.specs[name])

    @classmethod
    def get_code(cls, loader, name):
        if not loader.path.startswith(LIBRARIES):
            return read_code(loader, name)
        if loader.path not in cls.compiled:
            cls.compiled[loader.path] = read_code(loader, name)
        return cls.compiled[loader.path]


read_code = SourceFileLoader.get_code


# A process: modules, environment, and all else of which Python has one for each process.


def is_shared(module):
    return module in SHARED or module.partition(".")[0] in sys.stdlib_module_names


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

    current = None

    def __init__(self, folder, first, argv, environment):
        own = {"folder": folder, "argv": argv, "environment": environment}
        self.state = FRESH | own | {"path": [first, *FRESH["path"]]}
        self.context = contextvars.Context()

    def run(self, function):
        """Call the function with the state of this process."""
        outside, before = state_of_python(), Process.current
        restore(self.state)
        Process.current = self
        try:
            return self.context.run(function)
        finally:
            Process.current = before
            self.state = state_of_python()
            restore(outside)

    def end(self):
        self.run(end_process)
        for inode in [inode for inode, process in locks.items() if process is self]:
            del locks[inode]
        self.state = None
        gc.collect()


def end_process():
    atexit._run_exitfuncs()
    if "django.db" in sys.modules:
        with suppress(Exception):  # The settings may be wrong.
            sys.modules["django.db"].connections.close_all()


# The page, and its blocks.


def compact(text):
    """Leave out empty lines, which Sphinx also leaves out, and spaces at the end of lines."""
    lines = [line.rstrip() for line in text.replace("<BLANKLINE>", "").splitlines()]
    return "".join(f"{line}\n" for line in lines if line)


def agrees(want, got):
    # The dots in place of a traceback's stack may have any indentation.
    want = re.sub(r"^(Traceback .*:\n) +\.\.\.$", r"\1...", want, flags=re.MULTILINE)
    checker, ends = doctest.OutputChecker(), [text.rstrip("\n") + "\n" for text in (want, got)]
    compacted = map(compact, ends)
    return checker.check_output(*ends, FLAGS) or checker.check_output(*compacted, FLAGS)


def result(source, want, got, right=None):
    """Return what a reader sees of a prompt or command. Without ``right``, it is compared."""
    right = agrees(want, got) if right is None else right
    lines = (compact(text).splitlines(keepends=True) for text in (want, got))
    diff = "" if right else "".join(line for line in difflib.ndiff(*lines) if line[0] != "?")
    return {"source": source, "got": got, "right": right, "diff": diff}


def traceback_of(error):
    """Return an error's traceback from the page's own frames on, with paths in the project."""
    ours, stack = ("runner.py", "<frozen runpy>"), error.__traceback__
    while stack and stack.tb_frame.f_code.co_filename in ours:
        stack = stack.tb_next
    text = "".join(traceback.format_exception(type(error), error, stack))
    return text.replace(f"{page.folder}/", "")


def copy_folder(source, target):
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


class Page:
    """What ``live.js`` asks of the worker. Arguments and answers are JSON, but for the zip."""

    def __init__(self, project):
        global page
        page = self
        self.project, self.folder, self.original = project, f"/home/{project}", "/original"
        self.interpreter, self.snapshots, self.changes = None, {}, {}
        os.makedirs(self.original)
        if project != "page":
            shutil.unpack_archive(f"/home/Downloads/{project}-example.zip", "/home")
            os.rename(self.folder, self.original)
            os.remove(f"{self.original}/LICENSE")
        self.rewind("{}")

    def rewind(self, given):
        """Put back the files as they were before a block, or before the nearest one above."""
        to = json.loads(given).get("to", 0)
        near = max((index for index in self.snapshots if index <= to), default=0)
        self.stop()
        os.chdir("/")
        copy_folder(self.snapshots.get(near, self.original), self.folder)
        for index in [index for index in self.snapshots if index > near]:
            shutil.rmtree(self.snapshots.pop(index))
        self.changes = {key: change for key, change in self.changes.items() if key[1] <= near}
        self.status = 0
        return json.dumps(near)

    def run(self, given):
        block = json.loads(given)
        kind, text, self.number = block["kind"], block["text"], block["number"]
        self.alone = block.get("alone")
        try:
            if kind in ("file", "part", "end"):
                results = self.place(**block)
            else:
                if not self.interpreter:
                    self.keep_snapshot()
                results = getattr(self, kind)(text)
        except NotHere as reason:
            results = [{"source": text, "got": f"{reason}\n", "right": None}]
        except Exception as error:
            results = [result(text, "", traceback_of(error), right=False)]
        if goal := block.get("goal"):
            wanted = (EXAMPLE if kind == "doctest" else COMMAND).findall(goal)
            printed = [each["got"] for each in results]
            solved = [agrees(want, got) for (_, want), got in zip(wanted, printed, strict=False)]
            results[-1]["solved"] = all(solved) and len(wanted) == len(printed)
        return json.dumps(results)

    def keep_snapshot(self):
        """Keep the files as they are before a block, unless it runs alone, out of its order."""
        if self.alone:
            return
        index = self.number - 1
        self.snapshots[index] = f"/snapshots/{index}"
        copy_folder(self.folder, self.snapshots[index])

    def place(self, kind, text, path, shown, number, **block):
        """Write a file. If this changes the file, the interpreter ends, as in the site's run."""
        target = os.path.join(self.folder, path)
        if kind == "part":
            self.changes[path, number] = shown.rstrip("\n"), text.rstrip("\n")
            text = self.with_changes(path)
        elif kind == "end":
            text = f"{read(target)}\n{text}"
        if not os.path.exists(target) or read(target) != text:
            self.stop()
            self.keep_snapshot()
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "w") as file:
                file.write(text)
        return []

    def with_changes(self, path):
        """Return a file of the project, with the changes to the parts that the page shows."""
        whole = read(os.path.join(self.original, path))
        for (changed, _), (shown, text) in sorted(self.changes.items()):
            if changed == path and text != shown:
                if shown not in whole:
                    raise ValueError(f"this part of {path} can't be changed here")
                whole = whole.replace(shown, text, 1)
        return whole

    def execute(self, source, mode):
        """Run Python in the interpreter. Return what it printed, and whether there was an error."""
        if not self.interpreter:
            own = self.settings()
            self.interpreter = Process(self.folder, self.folder, [""], ENVIRONMENT | own)
            self.names = {"__name__": "__main__"}
            if own:
                self.interpreter.run(lambda: importlib.import_module("django").setup())
        out = io.StringIO()

        def run():
            with redirect_stdout(out):
                try:
                    exec(compile(source, f"block {self.number}", mode), self.names)
                except NotHere:
                    raise
                except BaseException as error:
                    print(traceback_of(error), end="")
                    return True

        return self.interpreter.run(run), out.getvalue()

    def python(self, text):
        self.note_source(text)
        failed, got = self.execute(text, "exec")
        return [result(text, got, got, right=not failed)]

    def doctest(self, text):
        self.note_source(re.sub(r"^(>>>|\.\.\.) ?", "", text, flags=re.MULTILINE))
        results = []
        for example in EXAMPLE.finditer(text):
            source = re.sub(r"^\.\.\. ?", "", example[1], flags=re.MULTILINE) + "\n"
            above = text.count("\n", 0, example.start())
            _, got = self.execute("\n" * above + source, "single")
            results.append(result(example[1], example[2], got))
        return results

    def note_source(self, text):
        """Let tracebacks show the lines of a block."""
        name = f"block {self.number}"
        linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name

    def console(self, text):
        results, commands = [], COMMAND.findall(text)
        for (command, want), (following, _) in itertools.pairwise([*commands, ("", "")]):
            out = io.StringIO()
            shell = Shell(out, {"?": str(self.status)})
            try:
                self.status = shell.run(command.replace("\n> ", "\n"))
            except NotHere as reason:
                return [*results, {"source": command, "got": f"{reason}\n", "right": None}]
            got = out.getvalue()
            expected = not self.status or following == "echo $?"
            results.append(result(command, want, got, right=None if expected else False))
        return results

    def settings(self):
        found = SETTINGS.search(read(f"{self.folder}/manage.py", ""))
        return {"DJANGO_SETTINGS_MODULE": found[1]} if found else {}

    def stop(self):
        if self.interpreter:
            self.interpreter.end()
            self.interpreter = None

    def child(self, argv, out, err, environment=None, given=""):
        """Run a program to its end, as a process of its own. Return its exit status.

        ``given`` is its standard input.
        """
        name, *rest = argv
        name = os.path.basename(name)
        if name == "sh" and rest[:1] == ["-c"]:
            return Shell(out, {}, err).run(rest[1])
        if name == "django-admin":
            rest = ["-m", "django", *rest]
        elif not name.startswith("python"):
            raise NotHere(f"it uses the command {name}")
        if rest[0] == "-W" or "PYTHONHASHSEED" in (environment or {}):
            raise NotHere("it starts Python with other options")
        while rest[0] in ("-u", "-B", "-Wall"):
            rest.pop(0)
        module = rest[0] in ("-c", "-m")
        first = self.folder if module else os.path.dirname(os.path.join(self.folder, rest[0]))
        environment = environment or ENVIRONMENT
        process = Process(self.folder, first, rest[1:] if module else rest, dict(environment))
        main, stdin = sys.modules["__main__"], sys.stdin
        try:
            with redirect_stdout(out), redirect_stderr(err):
                sys.stdin = io.StringIO(given)
                return process.run(lambda: run_program(rest))
        finally:
            sys.modules["__main__"], sys.stdin = main, stdin
            process.end()

    def look(self, given):
        """Return the tables of each alias, with the number of rows and the first five."""
        out, err = io.StringIO(), io.StringIO()
        if not (own := self.settings()):
            return "{}"
        self.child(["python", "-c", LOOK], out, err, ENVIRONMENT | own)
        return out.getvalue() or json.dumps({"settings": {"error": err.getvalue().strip()}})

    def zip(self, given):
        """Return the project's folder as it is now, as the bytes of a zip."""
        target = f"/download/{self.project}"
        copy_folder(self.folder, target)
        with open(shutil.make_archive("/download", "zip", "/download", self.project), "rb") as file:
            return file.read()


def read(path, default=None):
    if default is not None and not os.path.exists(path):
        return default
    with open(path) as file:
        return file.read()


def run_program(argv):
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
        print(traceback_of(error), end="", file=sys.stderr)
        return 1
    return 0


#: Prints the tables of each alias. A database that does not exist is not created by looking.
LOOK = """
import json, os, django
django.setup()
from django.db import connections
found = {}
for alias in connections:
    connection, tables = connections[alias], found.setdefault(alias, {})
    try:
        path = str(connection.settings_dict["NAME"]).removeprefix("file:").partition("?")[0]
        if not os.path.exists(path):
            raise FileNotFoundError(f"There is no file {os.path.basename(path)} yet.")
        with connection.cursor() as cursor:
            for name in sorted(connection.introspection.table_names(cursor)):
                quoted = connection.ops.quote_name(name)
                cursor.execute(f"SELECT COUNT(*) FROM {quoted}")
                count = cursor.fetchone()[0]
                cursor.execute(f"SELECT * FROM {quoted} LIMIT 5")
                columns = [column[0] for column in cursor.description]
                rows = [[str(value)[:60] for value in row] for row in cursor.fetchall()]
                tables[name] = {"columns": columns, "rows": rows, "count": count}
    except Exception as error:
        found[alias] = {"error": str(error)}
print(json.dumps(found))
"""


# The shell: what the pages use of it.

WORD = r"""(?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|\$\([^()]*\)|[^\s;&|<>'"\\])+"""
TOKEN = re.compile(rf"\s*?(\n|;|&&|&|\||2>&1|2>|>>|>|<<\d+|<|{WORD})", re.DOTALL)
PART = re.compile(r"""\\(.)|'([^']*)'|"((?:\\.|[^"\\])*)"|([^'"\\]+)""", re.DOTALL)
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+|\?)|\(([^()]*)\))")
LOOP = re.compile(r"for (\w+) in ([^;\n]*)[;\n]\s*do\s(.*?)\bdone\b", re.DOTALL)
HERE = re.compile(r"<<\s*('?)(\w+)'?(.*?)\n(.*?)\n\2(?=\n|\Z)", re.DOTALL)


class Shell:
    """Runs a command line: variables, quotes, pipes, redirection, ``for`` and here-documents."""

    def __init__(self, out, variables, err=None):
        self.out, self.err, self.variables = out, err, variables
        self.status = int(variables.get("?", 0))

    def run(self, script):
        texts = []

        def keep(match):
            text = f"{match[4]}\n"
            texts.append(text if match[1] else self.expand(text))
            return f"<<{len(texts) - 1}{match[3]}"

        script = HERE.sub(keep, script.replace("\\\n", ""))
        while (loop := LOOP.search(script)) is not None:
            self.run_simple(script[: loop.start()], texts)
            for word in self.words(re.findall(WORD, loop[2])):
                self.variables[loop[1]] = word
                self.run_simple(loop[3], texts)
            script = script[loop.end() :]
        self.run_simple(script, texts)
        return self.status

    def expand(self, text):
        def value(match):
            if match[3] is None:
                name = match[1] or match[2]
                return self.variables.get(name, ENVIRONMENT.get(name, ""))
            inner = Shell(io.StringIO(), self.variables, self.err)
            inner.run(match[3])
            return inner.out.getvalue().rstrip("\n")

        return VARIABLE.sub(value, text)

    def words(self, raw):
        for word in raw:
            text = ""
            for escaped, single, double, bare in PART.findall(word):
                double = re.sub(r"\\([\\\"$`])", r"\1", self.expand(double))
                text += escaped or single or double or self.expand(bare)
            quoted = re.search("['\"]", word)
            if text.startswith("~/"):
                text = ENVIRONMENT["HOME"] + text[1:]
            if not quoted and re.search(r"[*?]", text):
                yield from sorted(glob.glob(text, root_dir=page.folder)) or [text]
            elif not quoted and "$" in word:
                yield from text.split()
            else:
                yield text

    def run_simple(self, script, texts):
        words, given, files = [], "", {}
        tokens = iter([*TOKEN.findall(script.strip()), "\n"])
        for token in tokens:
            if token in ("\n", ";", "|", "&&"):
                out = io.StringIO() if token == "|" else self.out
                if words:
                    self.run_command([*self.words(words)], out, given, files)
                given = out.getvalue() if token == "|" else ""
                words, files = [], {}
                if token == "&&" and self.status:
                    return
            elif token == "&":
                raise NotHere("it starts a process that runs beside others")
            elif token.startswith("<<"):
                given = texts[int(token[2:])]
            elif token == "<":
                given = read(next(self.words([next(tokens)])))
            elif token in (">", ">>", "2>"):
                files[token] = next(self.words([next(tokens)]))
            elif token == "2>&1":
                files[token] = True
            else:
                words.append(token)

    def run_command(self, words, out, given, files):
        own = {}
        while words and (match := re.match(r"(\w+)=(.*)", words[0], re.DOTALL)):
            own[match[1]] = match[2]
            words.pop(0)
        if not words:
            self.variables |= own
            return
        target = files.get(">") or files.get(">>")
        err = self.err or out
        if target:
            out = io.StringIO()
            err = out if "2>&1" in files else err
        if "2>" in files:
            err = io.StringIO()
        os.chdir(page.folder)
        try:
            if command := getattr(self, f"do_{words[0]}", None):
                options = [word for word in words[1:] if word.startswith("-")]
                others = [word for word in words[1:] if not word.startswith("-")]
                self.status = command(others, options, out, given) or 0
            else:
                self.status = page.child(words, out, err, ENVIRONMENT | own, given)
            if target:
                with open(target, "w" if ">" in files else "a") as file:
                    file.write(out.getvalue())
            if "2>" in files:
                with open(files["2>"], "w") as file:
                    file.write(err.getvalue())
        except OSError as error:
            print(f"{words[0]}: {error.filename}: {error.strerror}", file=err)
            self.status = 1

    def do_echo(self, words, options, out, given):
        print(*words, file=out)

    def do_cat(self, words, options, out, given):
        out.write("".join(map(read, words)) or given)

    def do_cp(self, words, options, out, given):
        *sources, target = words
        for source in sources:
            if os.path.isdir(source):
                inner = os.path.join(target, os.path.basename(source))
                copy_folder(source, inner if os.path.isdir(target) else target)
            else:
                shutil.copy(source, target)

    def do_mv(self, words, options, out, given):
        *sources, target = words
        for source in sources:
            if os.path.isfile(target):
                os.remove(target)
            shutil.move(source, target)

    def do_rm(self, words, options, out, given):
        for word in words:
            if os.path.isdir(word):
                shutil.rmtree(word)
            elif os.path.exists(word) or "-f" not in options:
                os.remove(word)

    def do_mkdir(self, words, options, out, given):
        for word in words:
            os.makedirs(word, exist_ok="-p" in options)

    def do_rmdir(self, words, options, out, given):
        for word in words:
            os.rmdir(word)

    def do_touch(self, words, options, out, given):
        for word in words:
            open(word, "a").close()

    def do_chmod(self, words, options, out, given):
        mode, *files = words
        if mode != "u+w":
            raise NotHere("it needs the permissions of files")
        for file in files:
            os.chmod(file, os.stat(file).st_mode | 0o200)

    def do_grep(self, words, options, out, given):
        pattern, *files = words
        if "-E" not in options:
            pattern = re.sub(r"([|+?(){}])", r"\\\1", pattern)
        text = "".join(map(read, files)) or given
        lines = [line for line in text.splitlines() if re.search(pattern, line)]
        print(*lines, sep="\n", end="\n" if lines else "", file=out)
        return not lines

    def do_tail(self, words, options, out, given):
        count = int(options[0].removeprefix("-n").removeprefix("-") or words.pop(0))
        lines = ("".join(map(read, words)) or given).splitlines(keepends=True)
        out.write("".join(lines[-count:]))

    def do_sed(self, words, options, out, given):
        script, *files = words
        _, pattern, new, _ = re.split(r"(?<!\\)" + re.escape(script[1]), script)
        pattern = re.sub(r"([|+?(){}])", r"\\\1", pattern)
        for file in files:
            lines = read(file).splitlines(keepends=True)
            shutil.copy(file, file + options[0].removeprefix("-i"))
            with open(file, "w") as changed:
                changed.write(
                    "".join(re.sub(pattern, lambda _: new, line, count=1) for line in lines)
                )


os.environ.clear()
os.environ.update(ENVIRONMENT)
sys.dont_write_bytecode, sys.executable = True, "/bin/python"
mend()
SIGNALS = (signal.SIGINT, signal.SIGTERM)
SHARED = {*sys.modules}
FRESH = state_of_python()
page = None
