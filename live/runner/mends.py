"""What Python lacks in a browser, where there is one process, one thread, and no sockets."""

import _thread
import asyncio
import concurrent.futures.thread
import contextvars
import copy
import errno
import fcntl
import hashlib
import hmac
import importlib
import itertools
import multiprocessing
import os
import select
import subprocess
import sys
import threading
import time
import types
import zoneinfo
from contextlib import suppress
from functools import partial
from importlib.machinery import PathFinder, SourceFileLoader

import js
import tqdm

LIBRARIES = "/lib/python3.14/site-packages/"


class NotHere(BaseException):
    """A block needs what a browser lacks. No ``except Exception`` of the page may catch this."""


class Exit(BaseException):
    """`os._exit()` was called."""


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


def sleep(seconds):
    """Let the clocks move ahead, because nothing else could run in the meantime."""
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    js.sleep(seconds)


class Loop(asyncio.BaseEventLoop):
    """An event loop without sockets: there is only time to wait for."""

    _selector = types.SimpleNamespace(select=lambda timeout: sleep(timeout or 0))

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
    """Lock a file as the system does: until it is unlocked or closed, by this open file only."""
    number = file if isinstance(file, int) else file.fileno()
    inode = os.fstat(number).st_ino
    holder = locks.get(inode)
    if operation & fcntl.LOCK_UN:
        if holder == number:
            del locks[inode]
    elif holder in (None, number) or not is_open(holder, inode):
        locks[inode] = number
    elif operation & fcntl.LOCK_NB:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    else:
        raise NotHere("it waits for a lock that another open file has")


locks = {}


def is_open(number, inode):
    with suppress(OSError):
        return os.fstat(number).st_ino == inode
    return False


def get_ident():
    return get_ident.now


get_ident.now, get_ident.all = 1, itertools.count(2)


class Libraries:
    """Finds each module of a library once, because libraries do not change."""

    names, specs = set(os.listdir(LIBRARIES)), {}

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] not in cls.names:
            return None
        if name not in cls.specs:
            cls.specs[name] = PathFinder.find_spec(name, path)
        return copy.copy(cls.specs[name])


compiled = {}
read_code = SourceFileLoader.get_code


def get_code(loader, name):
    """Compile each module of a library once."""
    if not loader.path.startswith(LIBRARIES):
        return read_code(loader, name)
    if loader.path not in compiled:
        compiled[loader.path] = read_code(loader, name)
    return compiled[loader.path]


def apply():
    fcntl.flock = flock
    hashlib.pbkdf2_hmac = pbkdf2_hmac
    time.sleep = sleep
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
    # Django's shell asks whether there is standard input, which here is a text.
    select.select = lambda reads, writes, others, timeout=None: (reads, writes, [])
    os._exit, os.kill, os.geteuid = exit_at_once, kill, os.getuid
    os.register_at_fork = lambda **functions: None  # Nothing forks, and it would keep them.
    sys.meta_path.insert(0, Libraries)
    SourceFileLoader.get_code = get_code
    # There is no time zone database. This is UTC's own file.
    block = b"TZif2" + bytes(31) + b"\0\0\0\1\0\0\0\4" + bytes(6) + b"UTC\0"
    os.makedirs("/usr/share/zoneinfo", exist_ok=True)
    with open("/usr/share/zoneinfo/UTC", "wb") as file:
        file.write(block + block + b"\nUTC0\n")
    zoneinfo.reset_tzpath(["/usr/share/zoneinfo"])
