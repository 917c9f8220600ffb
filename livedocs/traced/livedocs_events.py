"""Records what a process of a page does to the databases, for the page's timelines.

`sitecustomize` calls `watch()` in each process of a page that has a timeline. While a block runs
that a timeline draws, the session keeps a file. The first line of the file is JSON, with the models
and the Python expressions to record. Each later line is an event. The events are in the order in
which they happened, in all processes.
"""

import atexit
import hashlib
import json
import os
import re
import sys
from contextlib import closing, suppress
from functools import wraps
from pathlib import Path
from threading import local
from urllib.parse import unquote, urlsplit

from livedocs_imports import after_import

FILE = os.environ["LIVEDOCS_EVENTS"]
WRITES = re.compile(
    r"""\s*(INSERT|REPLACE|UPDATE|DELETE)(?: OR \w+| IGNORE)?(?: INTO| FROM)? ["`](\w+)["`]"""
)
READS = re.compile(r"""\b(?:FROM|JOIN) ["`](\w+)["`]""")
SET = re.compile(r"""["`](\w+)["`] = (%s|NULL|[^,]+)""")
#: The maximum number of rows to compare between a replica and its primary.
MANY = 1000
#: The maximum length of a value, in letters.
LONG = 14

state = local()


def watch() -> None:
    after_import("django.db.backends.utils", wrap_cursors)
    after_import("django.db.backends.base.base", wrap_transactions)
    after_import("django.core.management.base", wrap_commands)
    atexit.register(look_at_the_end)


def wrap_cursors(module) -> None:
    """Record each statement when Django passes it to the driver, inside all wrappers."""
    for name in ("_execute", "_executemany"):
        setattr(module.CursorWrapper, name, noting(getattr(module.CursorWrapper, name)))


def noting(execute):
    @wraps(execute)
    def wrapper(self, sql, params, *rest):
        seen = None if is_busy() else statement(str(sql), params, execute.__name__)
        if seen is None:
            return execute(self, sql, params, *rest)
        event = {"alias": self.db.alias, **seen}
        try:
            result = execute(self, sql, params, *rest)
        except Exception as error:
            note(**event | {"kind": "refused", "error": type(error).__name__})
            raise
        if seen["kind"] == "write":
            self.db.livedocs_wrote = self.db.in_atomic_block or not self.db.autocommit
            # With RETURNING, rowcount is not known before the rows are fetched.
            if self.cursor.rowcount not in (-1, 1) and " RETURNING " not in str(sql):
                event["rows"] = self.cursor.rowcount
        else:
            event |= answer(self.db, sql, params, seen["model"])
        note(**event)
        return result

    return wrapper


def wrap_transactions(module) -> None:
    """Record when the writes of a transaction are rolled back, or if wanted, committed."""
    database = module.BaseDatabaseWrapper
    commit, rollback = database._commit, database._rollback

    def _commit(self):
        wrote, self.livedocs_wrote = getattr(self, "livedocs_wrote", False), False
        result = commit(self)
        if wrote and not is_busy() and (wanted() or {}).get("commits"):
            note(kind="commit", alias=self.alias)
        return result

    def _rollback(self):
        if getattr(self, "livedocs_wrote", False) and not is_busy():
            note(kind="rollback", alias=self.alias)
        self.livedocs_wrote = False
        return rollback(self)

    database._commit, database._rollback = _commit, _rollback


def wrap_commands(module) -> None:
    """Look before a command, to find changes by other programs, such as `rm`."""
    execute = module.BaseCommand.execute

    @wraps(execute)
    def wrapper(self, *args, **options):
        with suppress(Exception):
            look(before=True)
        return execute(self, *args, **options)

    module.BaseCommand.execute = wrapper


def is_busy() -> bool:
    """Whether this thread is running a query of ours, which the page did not send."""
    return getattr(state, "busy", False)


class busy:
    def __enter__(self):
        self.before, state.busy = is_busy(), True

    def __exit__(self, *exception):
        state.busy = self.before


def wanted() -> dict | None:
    """Return the first line of the file, or None if no timeline draws this block."""
    try:
        with open(FILE) as file:
            return json.loads(file.readline())
    except (FileNotFoundError, ValueError):  # ValueError: the first line is only partly written.
        return None


def tables() -> dict[str, tuple[str, str | None]]:
    """Return the label of each watched model, and the column to show or None, by table."""
    from django.apps import apps
    from django.core.exceptions import FieldDoesNotExist

    found, asked = {}, wanted()
    if not asked or not apps.ready:
        return {}
    for name in asked["models"]:
        label, field = ".".join(name.split(".")[:2]), ".".join(name.split(".")[2:])
        try:
            model = apps.get_model(label)._meta
            column = model.get_field(field).column if field else None
        except (LookupError, ValueError, FieldDoesNotExist):
            note(kind="unknown", model=name)
        else:
            found[model.db_table] = model.label, column
    return found


def note(**event) -> None:
    """Add an event to the file, if the file still exists."""
    line = json.dumps({"process": os.getpid(), "by": command(), **event}) + "\n"
    with suppress(FileNotFoundError):
        file = os.open(FILE, os.O_WRONLY | os.O_APPEND)
        os.write(file, line.encode())
        os.close(file)


def command() -> str:
    """Return the ``manage.py`` command of this process, or "" in the page's interpreter."""
    return sys.argv[1] if sys.argv[0].endswith("manage.py") and sys.argv[1:] else ""


def statement(sql: str, params, how: str) -> dict | None:
    """Return what a statement does to a watched model, or None."""
    known = tables()
    if write := WRITES.match(sql):
        verb, table = write.groups()
        if table not in known:
            return None
        label, column = known[table]
        event = {"kind": "write", "model": label, "verb": verb}
        if column and how == "_execute" and (value := written(sql, params or (), column)):
            event["value"] = value
        elif verb == "UPDATE" and how == "_execute":
            event["set"] = assignments(sql, params or ())
        return event
    if not re.match(r"[\s(]*SELECT\b", sql) or (wanted() or {}).get("writes"):
        return None
    read = next((known[table] for table in READS.findall(sql) if table in known), None)
    return read and {"kind": "read", "model": read[0]}


def written(sql: str, params, column: str) -> str | None:
    """Return the value that an INSERT or UPDATE of one row gives a column by a parameter."""
    if match := re.match(r"""\s*\w+ [^(]*\(([^)]*)\) VALUES \(((?:%s(?:, )?)+)\)(?!,)""", sql):
        columns = re.findall(r"""["`](\w+)["`]""", match[1])
        if column in columns and len(columns) == match[2].count("%s"):
            return short(params[columns.index(column)])
    elif match := re.search(rf"""["`]{column}["`] = %s""", sql.partition(" WHERE ")[0]):
        return short(params[sql[: match.start()].count("%s")])
    return None


def assignments(sql: str, params) -> list[str]:
    """Return the assignments of an UPDATE to values, for example ``stock = 3``."""
    found, values = [], iter(params)
    for column, value in SET.findall(sql.partition(" WHERE ")[0]):
        if value == "%s":
            found.append(f"{column} = {short(next(values))}")
        elif "%s" in value:  # We don't know how many parameters an expression has.
            break
        else:
            found.append(f"{column} = NULL" if value == "NULL" else column)
    return found


def answer(database, sql, params, model: str) -> dict:
    """Return the answer to a query that has been executed, by sending it again.

    For a replica (an alias whose ``TEST`` names a ``MIRROR``), add the primary's answer if it is
    different, because then the read was stale.
    """
    from django.db import connections

    column = dict(tables().values()).get(model)
    with busy(), suppress(Exception), closing(database.create_cursor()) as cursor:
        told, rows = ask(cursor, sql, params, column)
        event = {"answer": told}
        primary = connections[database.alias].settings_dict["TEST"]["MIRROR"]
        with suppress(Exception):
            if primary:
                with cursor_of(primary) as cursor:
                    now, theirs = ask(cursor, sql, params, column)
                event |= {"stale": now, "primary": primary} if theirs != rows else {}
        return event
    return {}


def ask(cursor, sql, params, column: str | None) -> tuple[str, list[tuple]]:
    """Return the answer to a query, as a short text and as rows."""
    cursor.execute(sql) if params is None else cursor.execute(sql, params)
    rows = [tuple(row) for row in cursor.fetchmany(MANY)]
    names = [part[0] for part in cursor.description]
    exists = re.match(r"\s*SELECT (1|%s) AS ", str(sql))
    if not rows:
        return "no row", rows
    if len(rows) == 1 and column in names:
        return short(rows[0][names.index(column)]), rows
    if len(rows) == 1 and len(names) == 1 and not exists:
        return short(rows[0][0]), rows
    return count(len(rows)), rows


def count(rows: int) -> str:
    return f"{rows:,} row{'s' * (rows != 1)}"


def short(value) -> str:
    text = " ".join(str(value).split())
    text = text if len(text) <= LONG else f"{text[: LONG - 1]}…"
    return f"“{text}”" if isinstance(value, str) else text


class cursor_of:
    """A cursor on an alias: in this thread's connection if it has one, else in a new connection.

    A new connection sends no signal, and does not create a missing file of SQLite.
    """

    def __init__(self, alias: str, new: bool = False):
        self.alias, self.new, self.opened = alias, new, None

    def __enter__(self):
        from django.db import connections

        database = connections[self.alias]
        if self.new or database.connection is None:
            database = database.copy()
            if database.vendor == "sqlite":
                name = str(database.settings_dict["NAME"])
                path = unquote(urlsplit(name).path) if name.startswith("file:") else name
                database.settings_dict["NAME"] = f"{Path(path).absolute().as_uri()}?mode=ro"
            parameters = database.get_connection_params()
            self.opened = database.connection = database.get_new_connection(parameters)
        self.cursor = database.create_cursor()
        return self.cursor

    def __exit__(self, *exception):
        with suppress(Exception):
            self.cursor.close()
        with suppress(Exception):
            if self.opened:
                self.opened.close()


def look(before: bool = False) -> None:
    """Record the rows that each database has of the watched models, before or after a block."""
    from django.db import connections

    known, databases = tables(), {}
    if not known:
        return
    with busy():
        for alias in connections:
            settings = connections[alias].settings_dict
            if settings["ENGINE"] != "django.db.backends.dummy":
                databases[alias] = {
                    "primary": settings["TEST"]["MIRROR"],
                    "holds": holds(alias, known),
                }
        # If a primary is changing meanwhile, it can't be compared with its replicas.
        for primary in {database["primary"] for database in databases.values()} - {None}:
            at = databases.get(primary)
            if at and at["holds"] != holds(primary, known):
                at["moving"] = True
    note(kind="look", before=before, databases=databases)


def holds(alias: str, known: dict) -> dict[str, list | None] | None:
    """Return the contents of each model's table, or None if the database does not answer."""
    from django.db import connections

    quote = connections[alias].ops.quote_name
    try:
        with cursor_of(alias, new=True) as cursor:
            return {label: contents(cursor, quote(table)) for table, (label, _) in known.items()}
    except Exception:
        return None


def contents(cursor, table: str) -> list | None:
    """Return the number of rows of a table and their hash, or None if there is no such table."""
    try:
        cursor.execute(f"SELECT * FROM {table}")
    except Exception:
        with suppress(Exception):
            cursor.connection.rollback()
        return None
    rows = sorted(repr(tuple(row)) for row in cursor.fetchall())
    return [len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]]


def look_at_the_end() -> None:
    """At the end of a command, find changes that Django did not make."""
    apps = sys.modules.get("django.apps")
    if apps and apps.apps.ready:
        with suppress(Exception):
            look()


def before_block() -> None:
    """Before a block of the page's interpreter, find changes by commands outside Django."""
    with suppress(Exception):
        look(before=True)


def after_block(namespace: dict) -> None:
    """After a block of the page's interpreter, record the databases and the watched values."""
    with suppress(Exception):
        look()
    for name, expression in ((wanted() or {}).get("watch") or {}).items():
        with busy():
            try:
                value = eval(expression, namespace)
            except NameError:
                continue  # the page has not defined it yet
            except Exception as error:
                value = f"{type(error).__name__}: {error}"
        note(kind="watch", name=name, value=short(str(value)).strip("“”"), on=bool(value))
