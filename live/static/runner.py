"""A page's session where there is one process: its files, its commands, its >>> blocks."""

import atexit, contextlib, contextvars, doctest, gc, glob, importlib, io, itertools, json, linecache
import logging, os, re, runpy, shutil, signal, sys, threading, time, traceback, types, warnings
import asyncio, concurrent.futures.thread, hashlib, hmac, sqlite3, subprocess, zoneinfo, _thread
import _threading_local, tqdm


class NotHere(Exception):
    """What a browser has not: a second process that runs on, say."""


class Exit(BaseException):
    """os._exit(), which no handler of the page's is to catch."""


# 1. What Pyodide lacks. -----------------------------------------------------------------------
def pbkdf2_hmac(name, password, salt, iterations, dklen=None):
    """OpenSSL's, with a thousand rounds whatever is asked: enough for a password of the page's."""
    key, whole = hmac.new(password, None, name), b""
    for block in itertools.count(1):
        last = total = None
        for _ in range(min(iterations, 1000)):
            mac = key.copy()
            mac.update(last or salt + block.to_bytes(4, "big"))
            last = mac.digest()
            total = int.from_bytes(last) ^ (total or 0)
        whole += total.to_bytes(len(last), "big")
        if len(whole) >= (dklen or len(last)):
            return whole[: dklen or len(last)]


class Loop(asyncio.BaseEventLoop):
    """An event loop that waits by sleeping: there are no sockets."""

    class _selector:
        select = staticmethod(lambda timeout: time.sleep(timeout or 0) or [])

    def _process_events(self, events): ...
    def _write_to_self(self): ...


idents = itertools.count(2)
ident = _thread.get_ident()


def inline(run):
    """Run what a thread would, to its end, with a thread's identity, locals and context."""
    global ident
    before, ident = ident, next(idents)
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        return contextvars.Context().run(run)
    finally:
        ident = before
        asyncio._set_running_loop(loop)


class Pool(concurrent.futures.Executor):
    def __init__(self, *arguments, **options): ...

    def submit(self, function, /, *arguments, **options):
        future = concurrent.futures.Future()
        try:
            future.set_result(inline(lambda: function(*arguments, **options)))
        except BaseException as error:
            future.set_exception(error)
        return future


def run_to_its_end(args, stdout=None, stderr=None, text=None, check=False, capture_output=False, **options):
    """subprocess.run(). What Popen() is for, a process beside this one, is not to be had."""
    out, err = io.StringIO(), io.StringIO()
    err = out if stderr == subprocess.STDOUT else err
    status = session.child(args if isinstance(args, list) else ["sh", "-c", args], out, err, options.get("env"))
    kept = [
        (stream.getvalue() if text else stream.getvalue().encode()) if capture_output or wanted == subprocess.PIPE else None
        for stream, wanted in ((out, stdout), (err, stderr))
    ]
    if check and status:
        raise subprocess.CalledProcessError(status, args, *kept)
    return subprocess.CompletedProcess(args, status, *kept)


def doze(seconds, sleep=time.sleep):
    """time.sleep(), of which a block has fifteen seconds: what it waits for may be a process."""
    session.slept += seconds
    if session.slept > 15:
        raise NotHere("it waits for what another process would have done")
    sleep(seconds)


def no_process(*arguments, **options):
    raise NotHere("it starts a process that is to run beside others, and a browser runs one at a time")


def mend():
    hashlib.pbkdf2_hmac = pbkdf2_hmac
    tqdm.tqdm.monitor_interval = 0  # else a thread that never ends
    asyncio._set_running_loop(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        class Policy(asyncio.DefaultEventLoopPolicy):
            _loop_factory = Loop
        asyncio.set_event_loop_policy(Policy())
    threading.get_ident = _thread.get_ident = lambda: ident
    threading.local = _threading_local.local
    threading.Thread.start = start
    concurrent.futures.ThreadPoolExecutor = concurrent.futures.thread.ThreadPoolExecutor = Pool
    subprocess.run, subprocess.Popen = run_to_its_end, no_process
    os._exit, time.sleep = exit_now, doze
    os.geteuid = os.getuid
    os.makedirs("/usr/share/zoneinfo", exist_ok=True)
    with open("/usr/share/zoneinfo/UTC", "wb") as file:
        file.write(b"TZif2" + bytes(15) + bytes(4 * 4) + b"\0\0\0\1\0\0\0\4" + bytes(6) + b"UTC\0"
                   + b"TZif2" + bytes(15) + bytes(4 * 4) + b"\0\0\0\1\0\0\0\4" + bytes(6) + b"UTC\0\nUTC0\n")
    zoneinfo.reset_tzpath(["/usr/share/zoneinfo"])


def exit_now(status):
    raise Exit(status)


def start(thread):
    if thread._started.is_set():
        raise RuntimeError("threads can only be started once")
    def body():
        thread._ident, thread._os_thread_handle = ident, _thread._make_thread_handle(ident)
        thread._started.set()
        threading._active[ident] = thread
        try:
            thread.run()
        except SystemExit:
            pass
        except Exception:
            threading.excepthook(threading.ExceptHookArgs([*sys.exc_info(), thread]))
        finally:
            del threading._active[ident]
            thread._os_thread_handle._set_done()
    inline(body)


# 2. A process: modules, environment and the rest of what Python keeps a copy of for each. ------
class Process:
    """What is a process's own is swapped in for the length of a `with` block."""

    def __init__(self, folder, argv, environment):
        self.modules, self.context = {}, contextvars.Context()
        self.own = [environment, argv, [folder if p is None else p for p in PATH], {}, [], [], (session.folder, 0), {}]

    def swap(self):
        environment, argv, path, loggers, handlers, filters, (cwd, disabled), signals = self.own
        root = logging.root
        self.own = [dict(os.environ), sys.argv, sys.path[:], dict(root.manager.loggerDict), root.handlers[:], warnings.filters[:], (os.getcwd(), root.manager.disable), {s: signal.getsignal(s) for s in SIGNALS}]
        os.environ.clear(), os.environ.update(environment)
        sys.argv, sys.path[:], root.handlers[:], warnings.filters[:] = argv, path, handlers, filters or FILTERS
        os.chdir(cwd)
        root.manager.disable = disabled
        root.manager.loggerDict.clear(), root.manager.loggerDict.update(loggers)
        for s, handler in (signals or DEFAULTS).items():
            signal.signal(s, handler)
        there = {name: module for name, module in sys.modules.items() if name not in BASE and not is_standard(name)}
        for name in there:
            del sys.modules[name]
        sys.modules.update(self.modules)
        self.modules = there
        warnings._filters_mutated() if hasattr(warnings, "_filters_mutated") else None
        importlib.invalidate_caches()

    def run(self, function):
        self.swap()
        try:
            return self.context.run(function)
        finally:
            self.swap()

    def end(self):
        def close():
            atexit._run_exitfuncs()
            if "django.db" in sys.modules:
                with contextlib.suppress(Exception):  # Settings that are not to be had, say.
                    sys.modules["django.db"].connections.close_all()
        self.run(close)
        self.modules.clear()
        gc.collect()


def is_standard(name):
    return name.partition(".")[0] in sys.stdlib_module_names


# 3. The session. --------------------------------------------------------------------------------
def lines(text):
    return "".join(line.rstrip() + "\n" for line in text.splitlines() if line.strip())


class Checker(doctest.OutputChecker):
    """Blank lines count for nothing: Sphinx leaves <BLANKLINE> out of what it shows."""

    def check_output(self, want, got, flags):
        check = super().check_output
        return check(want.replace("<BLANKLINE>", ""), got, flags) or check(lines(want.replace("<BLANKLINE>", "")), lines(got), flags)


def examples_of(text):
    """In a block of a page all that has no prompt is output, also what follows a blank line."""
    for match in EXAMPLE.finditer(text):
        source = re.sub(r"^\.\.\. ?", "", match[1], flags=re.M) + "\n"
        error = doctest.DocTestParser._EXCEPTION_RE.match(match[2])
        yield doctest.Example(source, match[2].rstrip(), error and error["msg"])


class Output(doctest.DocTestRunner):
    """Keeps what each example printed."""

    def report_start(self, out, test, example): ...

    def report_success(self, out, test, example, got):
        self.results.append((example.source, got, True))

    def report_failure(self, out, test, example, got):
        self.results.append((example.source, got, False))

    def report_unexpected_exception(self, out, test, example, exc_info):
        absent = isinstance(exc_info[1], NotHere)
        self.results.append((example.source, f"{exc_info[1]}\n" if absent else format_error(exc_info[1]), None if absent else False))


def format_error(error):
    """The traceback from the page's own line on, with the project's files by their names."""
    frame = error.__traceback__
    while frame and not re.match("<doctest|<page", frame.tb_frame.f_code.co_filename):
        frame = frame.tb_next
    text = "".join(traceback.format_exception(type(error), error, frame or error.__traceback__))
    return text.replace(session.folder + "/", "")


class Session:
    def __init__(self, folder):
        self.folder, self.status, self.interpreter, self.count = folder, 0, None, 0
        self.environment = ENVIRONMENT | {"PWD": folder}
        os.chdir(folder)

    # Blocks. Each returns [(source, printed, as expected)].
    def run(self, kind, text, path=""):
        self.count, self.slept = self.count + 1, 0
        return getattr(self, kind)(text, path)

    def file(self, text, path):
        """Put a file in its place. Where the page shows a part of the project's, that part of it."""
        path, shown = path if isinstance(path, tuple) else (path, None)
        if shown:
            whole = open(os.path.join(PRISTINE, path)).read()
            text = whole.replace(shown.rstrip("\n"), text.rstrip("\n"), 1)
        target = os.path.join(self.folder, path)
        if not os.path.exists(target) or open(target).read() != text:
            self.stop()
            os.makedirs(os.path.dirname(target), exist_ok=True)
            write(target, text)
        return []

    def python(self, text, path):
        name = f"<page block {self.count}>"
        linecache.cache[name] = len(text), None, text.splitlines(True), name
        out = io.StringIO()
        def run():
            with contextlib.redirect_stdout(out):
                exec(compile(text, name, "exec"), self.names)
        try:
            self.interpret(run)
        except BaseException as error:
            return [(text, out.getvalue() + format_error(error), False)]
        return [(text, out.getvalue(), True)]

    def doctest(self, text, path):
        runner = Output(Checker(), verbose=False, optionflags=doctest.ELLIPSIS)
        runner.results = []
        examples = list(examples_of(text))
        def run():
            test = doctest.DocTest(examples, self.names, f"block {self.count}", None, 0, None)
            runner.run(test, out=lambda text: None, clear_globs=False)
            self.names.update(test.globs)
        self.interpret(run)
        return runner.results

    def console(self, text, path):
        results, check = [], Checker().check_output
        commands = COMMAND.findall(text)
        for (command, want), (following, _) in zip(commands, [*commands[1:], ("", "")]):
            command = command.replace("\n> ", "\n")
            out = io.StringIO()
            try:
                self.status = Shell(self, out, {"?": str(self.status)}).run(command)
            except NotHere as error:
                return [*results, (command, f"{error}\n", None)]
            got = out.getvalue()
            right = check(want.rstrip("\n") + "\n", got.rstrip("\n") + "\n", doctest.ELLIPSIS)
            results.append((command, got, right and (not self.status or following == "echo $?")))
        return results

    # Processes.
    def interpret(self, function):
        if not self.interpreter:
            settings = self.settings()
            environment = self.environment | ({"DJANGO_SETTINGS_MODULE": settings} if settings else {})
            self.interpreter = Process(self.folder, [""], environment)
            self.names = {"__name__": "__main__"}
            if settings:
                self.interpreter.run(lambda: importlib.import_module("django").setup())
        return self.interpreter.run(function)

    def settings(self):
        manage = os.path.join(self.folder, "manage.py")
        found = os.path.exists(manage) and re.search(r"""SETTINGS_MODULE["'],\s*["']([\w.]+)""", open(manage).read())
        return found and found[1]

    def stop(self):
        if self.interpreter:
            self.interpreter.end()
            self.interpreter = None

    def child(self, argv, out, err, environment=None):
        """Run a command to its end, as a process of its own; return its exit status."""
        environment = dict(environment or self.environment)
        name, *rest = argv
        if name == "sh" and rest[0] == "-c":
            return Shell(self, out, {}, err=err).run(rest[1])
        if not os.path.basename(name).startswith("python"):
            raise NotHere(f"{name}: a browser has no such command")
        while rest and re.match("-[^cm]", rest[0]):
            rest.pop(0)
        first = os.path.dirname(os.path.abspath(rest[0])) if rest[0][0] != "-" else self.folder
        process = Process(first, rest[1:] if rest[0] in ("-c", "-m") else rest, environment)
        def run():
            try:
                if rest[0] == "-c":
                    sys.argv[0] = "-c"
                    exec(compile(rest[1], "<string>", "exec"), {"__name__": "__main__"})
                elif rest[0] == "-m":
                    runpy.run_module(rest[1], run_name="__main__", alter_sys=True)
                else:
                    runpy.run_path(rest[0], run_name="__main__")
            except (SystemExit, Exit) as exit:
                code = exit.args[0] if exit.args else 0
                if isinstance(code, int | None):
                    return code or 0
                print(code, file=sys.stderr)
                return 1
            except NotHere:
                raise
            except BaseException as error:
                frame = error.__traceback__
                while frame and not frame.tb_frame.f_code.co_filename.startswith((self.folder, "manage.py", "<string>")) and frame.tb_frame.f_code.co_filename != rest[0]:
                    frame = frame.tb_next
                traceback.print_exception(type(error), error, frame or error.__traceback__)
                return 1
            return 0
        main = sys.modules["__main__"]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                return process.run(run)
            finally:
                sys.modules["__main__"] = main
                process.end()


# 4. The shell: as much of sh as the pages have. -------------------------------------------------
EXAMPLE = re.compile(r"^>>> (.*(?:\n\.\.\.(?: .*|$))*)\n?((?:(?!>>> ).*(?:\n|\Z))*)", re.M)
COMMAND = re.compile(r"^\$ (.*(?:\n> .*)*)\n?((?:(?!\$ ).*(?:\n|\Z))*)", re.M)
WORD = r"""(?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|\$\([^()]*\)|[^\s;&|<>'"\\])+"""
TOKEN = re.compile(rf"\s*?(\n|;|&&|&|\||2>&1|2>|>>|>|<<\d+|<|{WORD})", re.S)
PART = re.compile(r"""\\(.)|'([^']*)'|"((?:\\.|[^"\\])*)"|([^'"\\]+)""", re.S)
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+|[?!@])|\(([^()]*)\))")
FOR = re.compile(r"for (\w+) in ([^;\n]*)[;\n]\s*do\s(.*?)\bdone\b", re.S)
HERE = re.compile(r"<<\s*('?)(\w+)'?(.*?)\n(.*?)\n\2(?=\n|\Z)", re.S)


def write(path, text, mode="w"):
    with open(path, mode) as file:
        file.write(text)


class Shell:
    def __init__(self, session, out, variables, arguments=(), err=None):
        self.session, self.out, self.err, self.variables, self.arguments = session, out, err, variables, list(arguments)
        self.environment, self.status = dict(session.environment), int(variables.get("?", 0))

    def run(self, script):
        here = []
        def keep(match):
            here.append(match[4] + "\n" if match[1] else self.expand(match[4] + "\n"))
            return f"<<{len(here) - 1}{match[3]}"
        script = HERE.sub(keep, script.replace("\\\n", ""))
        while loop := FOR.search(script):
            self.simple(script[: loop.start()], here)
            for self.variables[loop[1]] in self.words(re.findall(WORD, loop[2])):
                self.simple(loop[3], here)
            script = script[loop.end() :]
        self.simple(script, here)
        return self.status

    def expand(self, text):
        def value(match):
            name = match[1] or match[2]
            if match[3] is not None:
                out, self.out = self.out, io.StringIO()
                self.run(match[3])
                out, self.out = self.out, out
                return out.getvalue().rstrip("\n")
            if name.isdigit():
                return self.arguments[int(name) - 1]
            return self.variables.get(name, self.environment.get(name, ""))
        return VARIABLE.sub(value, text)

    def words(self, raw):
        for word in raw:
            if word == '"$@"':
                yield from self.arguments
                continue
            parts = [escaped or single if escaped or not (double or bare) else re.sub(r"\\([\\\"$`])", r"\1", self.expand(double)) if double else self.expand(bare) for escaped, single, double, bare in PART.findall(word)]
            text = "".join(parts)
            plain = not re.search("['\"]", word)
            yield from sorted(glob.glob(text)) or [text] if plain and re.search(r"[*?]", text) else text.split() if plain and "$" in word else [text]

    def simple(self, script, here):
        words, pipe, redirect = [], None, {}
        tokens = iter([*TOKEN.findall(script.strip()), "\n"])
        for token in tokens:
            if token in ("\n", ";", "|", "&&"):
                out = io.StringIO() if token == "|" else self.out
                if words:
                    pipe = self.command(list(self.words(words)), out, pipe, redirect)
                pipe = out.getvalue() if token == "|" else None
                words, redirect = [], {}
                if token == "&&" and self.status:
                    return
            elif token == "&":
                raise NotHere("a browser runs one process at a time, and this one is to go on beside others")
            elif token.startswith("<<"):
                pipe = here[int(token[2:])]
            elif token == "<":
                pipe = open(next(self.words([next(tokens)]))).read()
            elif token in (">", ">>", "2>"):
                redirect[token] = next(self.words([next(tokens)]))
            elif token == "2>&1":
                redirect[token] = True
            else:
                words.append(token)

    def command(self, words, out, stdin, redirect):
        assigned = {}
        while words and (match := re.match(r"(\w+)=(.*)", words[0], re.S)):
            assigned[match[1]] = match[2]
            words.pop(0)
        if not words:
            self.variables |= assigned
            return
        err = self.err or out
        target = redirect.get(">") or redirect.get(">>")
        if target:
            out = io.StringIO()
            err = out if "2>&1" in redirect else err
        environment = self.environment | assigned
        name, *rest = words
        function = getattr(self, "do_" + name, None)
        try:
            if function:
                self.status = function([w for w in rest], out, err, stdin or "", environment) or 0
            else:
                self.status = self.session.child(words, out, err, environment)
            if target:
                write(target, out.getvalue(), "w" if ">" in redirect else "a")
        except OSError as error:
            print(f"{'sh' if error.filename == target else name}: {error.filename}: {error.strerror}", file=err)
            self.status = 1

    def do_echo(self, words, out, *_):
        print(*words, file=out)

    def do_cat(self, words, out, err, stdin, *_):
        out.write("".join(open(word).read() for word in words) if words else stdin)

    def do_export(self, words, *_):
        self.environment |= dict(word.split("=", 1) for word in words)

    def do_cp(self, words, *_):
        *sources, target = [word for word in words if word[0] != "-"]
        for source in sources:
            if os.path.isdir(source):
                inside = os.path.join(target, os.path.basename(source)) if os.path.isdir(target) else target
                shutil.copytree(source, inside, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)

    def do_mv(self, words, *_):
        *sources, target = [word for word in words if word[0] != "-"]
        for source in sources:
            os.path.isfile(target) and os.remove(target)
            shutil.move(source, target)

    def do_rm(self, words, *_):
        for word in words:
            if word[0] != "-" and (os.path.exists(word) or "-f" not in words):
                shutil.rmtree(word) if os.path.isdir(word) else os.remove(word)

    def do_rmdir(self, words, *_):
        [os.rmdir(word) for word in words]

    def do_mkdir(self, words, *_):
        [os.makedirs(word, exist_ok="-p" in words) for word in words if word[0] != "-"]

    def do_touch(self, words, *_):
        [open(word, "a").close() for word in words]

    def do_chmod(self, words, *_):
        mode, *files = words
        for file in files:
            os.chmod(file, int(mode, 8) if mode.isdigit() else os.stat(file).st_mode | 0o200)

    def do_seq(self, words, out, *_):
        separator = next((word[2:] for word in words if word.startswith("-s")), "\n")
        first, *step, last = [int(word) for word in words if not word.startswith("-s")]
        print(separator.join(map(str, range(first, last + 1, *step))), file=out)

    def do_grep(self, words, out, err, stdin, *_):
        options = "".join(word[1:] for word in words if word[0] == "-")
        pattern, *files = [word for word in words if word[0] != "-"]
        if "E" not in options:
            pattern = re.sub(r"([|+?(){}])", r"\\\1", pattern)
        lines = ("".join(open(file).read() for file in files) if files else stdin).splitlines()
        for line in lines:
            found = [match[0] for match in re.finditer(pattern, line)]
            if "o" in options:
                [print(each, file=out) for each in found]
            elif found:
                print(line, file=out)

    def do_sort(self, words, out, err, stdin, *_):
        lines = stdin.splitlines()
        print("\n".join(sorted(set(lines) if "-u" in words else lines)), file=out)

    def do_sed(self, words, out, err, stdin, *_):
        script, *files = [word for word in words if word[0] != "-"]
        _, pattern, new, _ = re.split(r"(?<!\\)" + re.escape(script[1]), script)
        pattern = re.sub(r"([|+?(){}])", r"\\\1", pattern)
        for file in files:
            text = open(file).read()
            write(file + ".bak", text)
            write(file, "".join(re.sub(pattern, lambda match: new, line, count=1) for line in text.splitlines(True)))

    def do_sh(self, words, out, *_):
        inner = Shell(self.session, out, {}, words[1:])
        return inner.run(open(words[0]).read())

    def do_shift(self, *_):
        self.arguments.pop(0)

    def do_exec(self, words, out, err, stdin, environment):
        return self.session.child(words, out, err, environment)

    def do_timeout(self, words, out, err, stdin, environment):
        raise NotHere("a browser can't stop a process and keep its files")

    do_kill = do_timeout


# 5. ---------------------------------------------------------------------------------------------
ENVIRONMENT = {"COLUMNS": "80", "HOME": "/home", "PATH": "/bin", "LANG": "C.UTF-8", "USER": "reader"}
os.environ.clear()
os.environ.update(ENVIRONMENT)
sys.dont_write_bytecode, sys.executable = True, "/bin/python"
mend()
BASE = {*sys.modules, "sqlparse", "tqdm"}
SIGNALS = [s for s in (signal.SIGINT, signal.SIGTERM) if s]
DEFAULTS = {s: signal.getsignal(s) for s in SIGNALS}
FILTERS = warnings.filters[:]
PATH = [None, *sys.path]
session = None


class Page:
    """What the page asks of the worker. Arguments and answers are JSON."""

    def __init__(self, project):
        self.project, self.snapshots = project, {}
        self.pristine = "/pristine"
        os.makedirs(self.pristine)
        if project != "page":
            shutil.unpack_archive(f"/home/Downloads/{project}-example.zip", "/home")
            os.rename(f"/home/{project}", self.pristine)
        self.rewind("{}")

    def rewind(self, given):
        """Return to a block, or to the nearest one above it of which there is a snapshot."""
        global session, PRISTINE
        PRISTINE = self.pristine
        to = json.loads(given).get("to", 0)
        near = max((index for index in self.snapshots if index <= to), default=0)
        if session:
            session.stop()
        os.chdir("/")
        folder = f"/home/{self.project}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.snapshots.get(near, self.pristine), folder)
        for index in [index for index in self.snapshots if index > near]:
            shutil.rmtree(self.snapshots.pop(index))
        session = Session(folder)
        return json.dumps(near)

    def run(self, given):
        block = json.loads(given)
        try:
            results = session.run(block["kind"], block["text"], (block["path"], block["part"]) if block.get("part") else block.get("path", ""))
        except NotHere as error:
            results = [(block["text"], f"{error}\n", None)]
        except Exception as error:
            results = [(block["text"], format_error(error), False)]
        return json.dumps([{"source": s, "got": g, "right": r} for s, g, r in results])


open_page = Page
