"""Find transactions that write to two databases, while the tests run.

``atomic()`` covers one alias, so what a block writes to a second database is not part of the
transaction. If an error or a crash comes between the two, only one of them keeps its rows. The code
alone does not show which alias a line writes to, because a router decides. So this module watches a
run of the tests: it notes each statement that writes, and each ``atomic()`` block.

A block starts when the thread enters ``atomic()`` and no other block of the thread is open, on any
alias. When it ends, a ``TwoDatabasesWarning`` is given in two cases:

- Statements inside the block wrote to two or more databases. Other blocks inside, on the same or on
  another alias, belong to it, and get no warning of their own.
- No statement inside wrote to the database of the block, but one wrote to another database, outside
  of any ``atomic()`` on that alias. Often ``using`` was forgotten.

These do not count:

- the blocks that ``TestCase`` and pytest-django put around each test;
- reads, statements that fail, and statements that change the schema;
- what ``on_commit()`` runs after the commit of the block;
- a second alias of the same database: see ``rows_of()``.

Switch it on in the settings of the tests, or by ``start()`` in ``conftest.py``::

    MULTIDB_WATCH = True

The warning belongs to the line of the ``with``, or of the decorated function. So Python's own
filters can select the module of that line. In ``pytest.ini``, these lines make tests fail, except
for blocks in modules whose name begins with ``mails``::

    filterwarnings =
        error::multidb_checks.watching.TwoDatabasesWarning
        ignore::multidb_checks.watching.TwoDatabasesWarning:mails

If the block ends by an exception, this exception is raised, and an error filter only adds the text
of the warning to the notes of the exception.

The module sends no query. It does not find two blocks after each other, code that no test runs, and
writes by a function or a trigger of the database, by ``callproc()``, or by ``copy()`` of psycopg's
cursor.
"""

import inspect
import os
import re
import sys
import threading
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakSet

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.signals import connection_created
from django.db.transaction import Atomic

from multidb_checks.answers import rows_of, together

#: Text in which a word like DELETE means nothing.
NOISE = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)
#: The verb at the start of a statement, or in a WITH before or after a parenthesis; and the table.
#: A name must follow, because REPLACE() and TRUNCATE() are functions too.
WRITE = re.compile(
    r"""
    (?: ^ | [;()] ) \s*
    (?: (?: INSERT | REPLACE | UPDATE | DELETE | MERGE | TRUNCATE ) \b
        (?: \s+ (?: INTO | FROM | TABLE | ONLY | OR \s+ \w+ | IGNORE | LOW_PRIORITY | QUICK ) \b )*
        \s+ (?P<table> ["`\w][^\s(;,]* )
    | COPY \s+ (?P<copied> ["`\w][^\s(;]* ) \s* (?: \([^)]*\) )? \s* FROM \b )
    """,
    re.IGNORECASE | re.VERBOSE,
)
#: Where Django calls the project. A caller beyond has no part in what is called.
BORDER = ("django.core.handlers.", "django.core.management.")


class TwoDatabasesWarning(UserWarning):
    """A transaction on one alias, inside of which another database was written."""


@dataclass(frozen=True)
class Place:
    """A line of code, and the names of its module."""

    file: str
    line: int
    module: dict[str, Any]

    def __str__(self):
        roots = [root + os.sep for root in sys.path if self.file.startswith(root + os.sep)]
        return f"{self.file.removeprefix(max(roots, key=len, default=''))}:{self.line}"


@dataclass(frozen=True)
class Block:
    atomic: Atomic
    alias: str
    place: Place
    of_orm: bool  # opened by a method such as bulk_create()


class Watched(threading.local):
    """The blocks and writes of this thread. Each thread has its own connections, too."""

    def __init__(self):
        self.open = []  # blocks, the outermost first
        self.entered = {}  # the first block of each alias, until the outermost block ends
        self.writes = {}  # (alias, whether in a block of this alias): table and place of the first


watched = Watched()
wrapped = WeakSet()  # connections
django_enter, django_exit = Atomic.__enter__, Atomic.__exit__


def start():
    """Watch this process until ``stop()``, except connections that other threads have already."""
    Atomic.__enter__, Atomic.__exit__ = enter, leave
    connection_created.connect(wrap)
    for connection in connections.all(initialized_only=True):
        wrap(connection)


def stop():
    Atomic.__enter__, Atomic.__exit__ = django_enter, django_exit
    connection_created.disconnect(wrap)
    while wrapped:
        wrapped.pop().execute_wrappers.remove(note)


def wrap(connection, **kwargs):
    # A connection has the wrapper once, also if it connects again. The wrapper is the first of the
    # list, because connection.execute_wrapper() removes the last at its end.
    if connection not in wrapped:
        connection.execute_wrappers.insert(0, note)
        wrapped.add(connection)


def note(execute, sql, params, many, context):
    """Note a statement that writes. This is a wrapper for ``execute_wrapper()``."""
    result = execute(sql, params, many, context)
    if watched.open and (table := table_of(sql, context["cursor"])):
        alias = context["connection"].alias
        inside = any(block.alias == alias and not block.of_orm for block in watched.open)
        if (alias, inside) not in watched.writes:
            watched.writes[alias, inside] = table, caller()
    return result


def table_of(sql, cursor=None):
    """Return the table that a statement writes to, or None if the statement does not write."""
    if hasattr(sql, "as_string"):  # of psycopg.sql
        sql = sql.as_string(cursor.cursor)
    elif isinstance(sql, bytes):
        sql = sql.decode(errors="replace")
    found = WRITE.search(NOISE.sub(" ", str(sql)))
    return found and (found["table"] or found["copied"]).translate({ord(c): None for c in '"`'})


def enter(atomic):
    django_enter(atomic)
    if atomic._from_testcase:
        return
    alias = atomic.using or DEFAULT_DB_ALIAS
    frame = sys._getframe(1)
    of_orm = frame.f_globals["__name__"].startswith("django.db.models.")
    block = Block(atomic, alias, decorated(frame, atomic) or caller(), of_orm)
    if not watched.open:
        watched.entered, watched.writes = {}, {}
    if not (watched.open and of_orm):
        watched.entered.setdefault(alias, block)
    watched.open.append(block)


def leave(atomic, exc_type, exc_value, traceback):
    # The block ends here, before the commit: the callbacks of on_commit() are no part of it.
    message = None
    for number, block in enumerate(watched.open):
        if block.atomic is atomic:  # not always the last: blocks may overlap
            del watched.open[number]
            if not watched.open:
                message = fault(watched.entered, watched.writes)
                outermost = next(iter(watched.entered.values()))
            break
    try:
        return django_exit(atomic, exc_type, exc_value, traceback)
    except BaseException as error:
        exc_value = error
        raise
    finally:
        if message:
            warn(message, outermost.place, exc_value)


def fault(entered, writes):
    """Return the text of the warning about an outermost block, or None."""
    first = {}  # for each database
    for (alias, inside), (table, place) in writes.items():
        outside = "" if inside else f", outside of any atomic() on {alias}"
        first.setdefault(rows_of(alias), f"{alias} ({table}, {place}{outside})")
    blocks = together([f"{alias} ({block.place})" for alias, block in entered.items()])
    if len(first) > 1:
        return (
            f"atomic() on {blocks} wrote to {len(first)} databases, which do not commit together: "
            f"{together(first.values())}."
        )
    outermost = next(iter(entered))
    for (alias, inside), (table, place) in writes.items():
        if not inside and rows_of(alias) != rows_of(outermost):
            return (
                f"atomic() on {blocks} did not write to {outermost}. It wrote to {alias} "
                f'({table}, {place}), which needs its own atomic(using="{alias}").'
            )
    return None


def warn(message, place, error):
    module = place.module
    registry = module.setdefault("__warningregistry__", {})
    try:
        warnings.warn_explicit(
            message, TwoDatabasesWarning, place.file, place.line, module["__name__"], registry
        )
    except TwoDatabasesWarning:
        if error is None:
            raise
        error.add_note(message)


def decorated(frame, atomic):
    """Return the place of the function that ``atomic`` decorates, or None for a ``with``."""
    if frame.f_globals["__name__"] != "contextlib" or frame.f_locals.get("self") is not atomic:
        return None
    function = inspect.unwrap(frame.f_locals["func"])
    if view := getattr(function, "view_class", None):  # by ATOMIC_REQUESTS
        module = vars(sys.modules[view.__module__])
        return Place(module["__file__"], line_of(view), module)
    if code := getattr(function, "__code__", None):
        return Place(code.co_filename, code.co_firstlineno, function.__globals__)
    return None


@cache
def line_of(view):
    try:
        return inspect.getsourcelines(view)[1]
    except OSError:  # a class without a class statement
        return 1


def caller():
    """Return the place of the innermost caller outside Django.

    If a view of Django itself is called, such as the admin's, this is the innermost line outside
    of ``django.db``.
    """
    frame, in_django = sys._getframe(2), None
    while frame:
        name = frame.f_globals.get("__name__", "")
        if in_django and name.startswith(BORDER):
            return in_django
        if not name.startswith(("django.", "contextlib", __name__)):
            return place_of(frame)
        if not (in_django or name.startswith(("django.db.", "contextlib", __name__))):
            in_django = place_of(frame)
        frame = frame.f_back
    return in_django


def place_of(frame):
    return Place(frame.f_code.co_filename, frame.f_lineno, frame.f_globals)
