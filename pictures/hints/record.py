"""Records what Django asks a router, for each call in ``calls.py``. Runs as a script.

``python record.py`` prints a JSON object, and needs Django alone. Its keys are:

- ``django``: the exact version.
- ``groups``: for each group, its calls. A call has its code (``call``), a ``note``, and ``asked``:
  each question with the number of times, in the order in which Django first asked. ``async`` is the
  asynchronous form of the call, and ``async_asked`` is what this form asks, if that differs.
- ``not_reached``: for each file of Django, the functions with a question that no call reached.

The databases are two files, ``default`` and ``other``, with the same tables and rows. Before each
call, both are copied anew. The router returns ``None`` for every question, so that Django decides
as it does without a router. With the argument ``default``, the router returns that alias.
"""

import ast
import contextlib
import copy
import inspect
import io
import json
import os
import pickle
import random
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import django
from django.conf import settings

HERE = Path(__file__).parent
DJANGO = Path(django.__file__).parent
ALIASES = ["default", "other"]
#: Functions that have an asynchronous form. (Methods are found by their name.)
FUNCTIONS = {"authenticate", "get_object_or_404", "get_list_or_404", "get_user", "login", "logout"}
FUNCTIONS |= {"prefetch_related_objects"}
METHODS = {"db_for_read", "db_for_write", "allow_relation", "allow_migrate", "allow_migrate_model"}


class Recorder:
    """A router that notes each question, with the place in Django that asked."""

    def __init__(self, answer: str | None):
        self.answer = answer
        self.places: set[tuple[str, int]] = set()
        self.start()

    def start(self) -> None:
        self.questions: dict[str, int] = {}
        self.migrations: dict[tuple, dict[tuple, int]] = {}

    def db_for_read(self, model, **hints):
        self.note(f"db_for_read({', '.join([model.__name__, *written(hints)])})")
        return self.answer

    def db_for_write(self, model, **hints):
        self.note(f"db_for_write({', '.join([model.__name__, *written(hints)])})")
        return self.answer

    def allow_relation(self, obj1, obj2, **hints):
        self.note(f"allow_relation({', '.join([shown(obj1), shown(obj2), *written(hints)])})")
        return self.answer and True

    def allow_migrate(self, db, app_label, model_name=None, **hints):
        self.note("")
        key = (db, model_name is None, *sorted(hints))
        asked = self.migrations.setdefault(key, {})
        subject = (
            app_label,
            model_name,
            *(written({name: hints[name]})[0] for name in sorted(hints)),
        )
        asked[subject] = asked.get(subject, 0) + 1

    def note(self, question: str) -> None:
        if question:
            self.questions[question] = self.questions.get(question, 0) + 1
        frame = sys._getframe(2)
        while frame and Path(frame.f_code.co_filename) == DJANGO / "db" / "utils.py":
            frame = frame.f_back
        self.places.add((frame.f_code.co_filename, frame.f_lineno))

    def asked(self, vague: bool) -> dict[str, int]:
        """Return each question since the start. ``allow_migrate`` is last, see `summary`."""
        found = dict(self.questions)
        for (db, no_model, *_), subjects in self.migrations.items():
            text = summary(db, no_model, list(subjects), vague)
            found[text] = found.get(text, 0) + sum(subjects.values())
        return found


def summary(db: str, no_model: bool, subjects: list[tuple], vague: bool) -> str:
    """Return the question about a database. Several models, or several apps, are one question.

    If ``vague``, Django asks about any one model, and the name of this model is left out.
    """
    apps = {app for app, *_ in subjects}
    parts = [f'"{db}"', f'"{apps.pop()}"' if len(apps) == 1 and not vague else "<app_label>"]
    first = subjects[0]
    if not no_model:
        placeholder = "<model_name>" if first[1].islower() else "<ModelName>"
        known = len(subjects) == 1 and not vague
        parts.append(f'model_name="{first[1]}"' if known else f"model_name={placeholder}")
    for number, hint in enumerate(first[2:], 2):
        same = len({subject[number] for subject in subjects}) == 1
        parts.append(hint if same else f"{hint.partition('=')[0]}=<Model>")
    return f"allow_migrate({', '.join(parts)})"


def shown(value) -> str:
    """Return an object as its class. It is new if it is in no database."""
    if isinstance(value, type):
        return value.__name__
    new = "" if value._state.db else "new "
    return f"<{new}{type(value).__name__}>"


def written(hints: dict) -> list[str]:
    return [
        f"{name}={shown(value) if hasattr(value, '_meta') else repr(value)}"
        for name, value in hints.items()
    ]


def set_up(recorder: Recorder, folder: Path) -> None:
    sys.path.insert(0, str(HERE))
    contrib = ["admin", "auth", "contenttypes", "messages", "sessions", "sites"]
    middleware = ["contrib.sessions.middleware.Session", "contrib.auth.middleware.Authentication"]
    settings.configure(
        DATABASES={
            alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / f"{alias}.sqlite3"}
            for alias in ALIASES
        },
        ALLOWED_HOSTS=["testserver"],
        DATABASE_ROUTERS=[recorder],
        INSTALLED_APPS=[*(f"django.contrib.{name}" for name in contrib), "library", "small"],
        MIDDLEWARE=[
            *(f"django.{name}Middleware" for name in middleware),
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        CACHES={
            "default": {
                "BACKEND": "django.core.cache.backends.db.DatabaseCache",
                "LOCATION": "cache_table",
            },
            "memory": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        },
        SESSION_CACHE_ALIAS="memory",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend",
        PASSWORD_HASHERS=[
            "django.contrib.auth.hashers.MD5PasswordHasher",
            "django.contrib.auth.hashers.PBKDF2PasswordHasher",
        ],
        ROOT_URLCONF="library.urls",
        SECRET_KEY="not a secret",
        SITE_ID=1,
        STATIC_URL="/static/",
        USE_TZ=True,
    )
    django.setup()


def fill(alias: str) -> None:
    """Create the tables and the rows of a database."""
    from django.contrib.auth.models import Group, User
    from django.contrib.contenttypes.models import ContentType
    from django.core.management import call_command
    from library.models import (
        Archived,
        Author,
        Book,
        Chapter,
        Note,
        Novel,
        Price,
        Profile,
        Role,
        Series,
        Tag,
        Volume,
    )

    call_command("migrate", database=alias, run_syncdb=True, verbosity=0)
    call_command("createcachetable", database=alias)
    ann, ben = (Author.objects.using(alias).create(name=name) for name in ("Ann", "Ben"))
    ann.colleagues.add(ben)
    Profile.objects.using(alias).create(author=ann, text="Ann's")
    Profile.objects.using(alias).create(author=ben, text="Ben's")
    old = Tag.objects.using(alias).create(name="old")
    parent = Tag.objects.using(alias).create(name="parent")
    child = Tag.objects.using(alias).create(name="child", parent=parent)
    tea = Book.objects.using(alias).create(title="Tea", isbn="1", author=ann)
    cups = Book.objects.using(alias).create(title="Cups", isbn="2", author=ben)
    for book in (tea, cups):
        book.tags.add(old)
        Role.objects.using(alias).create(book=book, author=ann)
    cups.tags.add(child)
    novel = Novel(title="Pots", isbn="3", author=ben, genre="crime")
    novel.save(using=alias)
    kind = ContentType.objects.db_manager(alias).get_for_model(Book)
    for book in (tea, cups):
        Note.objects.using(alias).create(content_type=kind, object_id=book.pk, text="old")
    for title in ("One", "Two"):
        Chapter(book=tea, title=title).save(using=alias)
    Price.objects.using(alias).create()
    Archived.objects.using(alias).create(text="old", author=ann)
    series = Series.objects.using(alias).create(name="Drinks")
    Volume.objects.using(alias).create(series=series)
    user = User.objects.db_manager(alias).create_superuser("ann", "ann@x.org", "tea")
    user.groups.add(Group.objects.using(alias).create(name="tasters"))
    ContentType.objects.clear_cache()


def names(stack: contextlib.ExitStack) -> dict:
    """Return what the calls name: modules, models, and objects that were read from ``default``."""
    from django import shortcuts
    from django.contrib import auth
    from django.contrib.auth import forms as auth_forms
    from django.contrib.auth.hashers import make_password
    from django.contrib.auth.models import Group, User
    from django.contrib.auth.tokens import default_token_generator
    from django.contrib.contenttypes.models import ContentType
    from django.contrib.contenttypes.prefetch import GenericPrefetch
    from django.contrib.messages.storage.cookie import CookieStorage
    from django.contrib.sessions.backends.cached_db import SessionStore as CachedStore
    from django.contrib.sessions.backends.db import SessionStore
    from django.contrib.sessions.backends.signed_cookies import SessionStore as Cookies
    from django.contrib.sites.models import Site
    from django.core import serializers
    from django.core.cache import cache
    from django.core.management import call_command
    from django.core.paginator import Paginator
    from django.db import connection, connections, models, router, transaction
    from django.db.migrations.recorder import MigrationRecorder
    from django.forms import (
        ModelChoiceField,
        ModelMultipleChoiceField,
        inlineformset_factory,
        modelform_factory,
        modelformset_factory,
    )
    from django.test import Client, RequestFactory, TestCase, TransactionTestCase
    from django.test.utils import setup_databases as set_up_databases
    from django.test.utils import teardown_databases
    from django.urls import resolve
    from library import models as library
    from small.models import Cup

    def read(model, /, **lookup):
        return model._base_manager.using("default").get(**lookup)

    user = read(User, pk=1)
    book, second = read(library.Book, pk=1), read(library.Book, pk=2)
    factory = RequestFactory()

    def respond(request, allowed):
        request.user, request.session, request._dont_enforce_csrf_checks = user, Cookies(), True
        request._messages = CookieStorage(request)
        match = resolve(request.path)
        response = match.func(request, *match.args, **match.kwargs)
        if hasattr(response, "render"):
            response.render()
        assert response.status_code in allowed, response.content.decode()
        return response

    def get(path):
        return respond(factory.get(path), {200, 302})

    def post(path, data):
        confirm = data.get("action") and "post" not in data
        return respond(factory.post(path, data), {200} if confirm else {302})

    def new_request():
        request = factory.get("/")
        request.session = SessionStore()
        return request

    def saved_session():
        session = SessionStore()
        session["a"] = 1
        session.save(must_create=True)
        return SessionStore(session.session_key)

    def dumped(model):
        return serializers.serialize("json", model.objects.using("default"))

    def dumped_file():
        file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "books.json"
        file.write_text(dumped(library.Book))
        return file

    def forget(model):
        ContentType.objects.using("default").filter(app_label=model._meta.app_label).delete()
        ContentType.objects.clear_cache()

    def empty(alias):
        connections[alias].close()
        Path(connections[alias].settings_dict["NAME"]).write_bytes(b"")

    def unmigrate(target="zero"):
        call_command("migrate", "small", target, verbosity=0)

    def forget_initial():
        MigrationRecorder(connection).migration_qs.filter(app="small").delete()

    def drop_cache_table():
        connection.cursor().execute("DROP TABLE cache_table")

    def stale():
        ContentType.objects.using("default").create(app_label="gone", model="gone")

    def answer_with(text):
        stack.enter_context(mock.patch("getpass.getpass", return_value=text))

    class Every(TransactionTestCase):
        databases = set(ALIASES)

        def test(self):
            pass

    def new_case():
        stack.callback(Every._remove_databases_failures)
        Every._add_databases_failures()
        return Every("test")

    def new_class():
        case = type("Case", (TestCase,), {"databases": set(ALIASES)})
        stack.callback(case.doClassCleanups)
        stack.callback(case.tearDownClass)
        return case

    def setup_databases(**options):
        old = set_up_databases(**options)
        stack.callback(teardown_databases, old, verbosity=0)

    chapters = {"chapter_set-TOTAL_FORMS": 0, "chapter_set-INITIAL_FORMS": 0}
    less = {"chapter_set-TOTAL_FORMS": 1, "chapter_set-INITIAL_FORMS": 1, "_save": "Save"}
    less |= {"chapter_set-0-id": 1, "chapter_set-0-book": 1, "chapter_set-0-DELETE": "on"}
    less |= {"chapter_set-0-title": "One", "chapter_set-0-day": "2010-09-07"}
    data = {"title": "New", "isbn": "9", "pages": 1, "author": 1, "tags": [1]}
    two = {"form-TOTAL_FORMS": 2, "form-INITIAL_FORMS": 2}
    listed = {"form-TOTAL_FORMS": 3, "form-INITIAL_FORMS": 3, "_save": "Save"}
    listed |= {f"form-{number}-id": 3 - number for number in range(3)}
    listed |= {f"form-{number}-author": 1 for number in range(3)}
    rows = {f"form-{n}-{name}": value for n in (0, 1) for name, value in data.items()}
    rows |= {"form-0-id": 1, "form-1-id": 2, "form-0-title": "A", "form-0-isbn": "8"}
    inline = {"books-TOTAL_FORMS": 2, "books-INITIAL_FORMS": 1, "books-0-id": 1}
    inline |= {f"books-{n}-title": title for n, title in enumerate("AB")}
    inline |= {f"books-{n}-isbn": isbn for n, isbn in enumerate("89")}
    fields = ["title", "isbn", "pages", "author", "tags"]
    secret = "long enough 17"
    passwords = {"password1": secret, "password2": secret, "usable_password": "true"}
    known = {
        "ContentType": ContentType,
        "GenericPrefetch": GenericPrefetch,
        "Site": Site,
        "User": User,
        "Cup": Cup,
        "serializers": serializers,
        "cache": cache,
        "call_command": call_command,
        "connection": connection,
        "connections": connections,
        "router": router,
        "transaction": transaction,
        "models": models,
        "pickle": pickle,
        "copy": copy,
        "make_password": make_password,
        "default_token_generator": default_token_generator,
        "Paginator": Paginator,
        "CachedStore": CachedStore,
        "SessionStore": SessionStore,
        "ModelChoiceField": ModelChoiceField,
        "ModelMultipleChoiceField": ModelMultipleChoiceField,
        "client": Client(),
        "data": data,
        "rows": rows | two,
        "inline_rows": inline,
        "listed": listed,
        "added": data | chapters | {"_save": "Save"},
        "without_a_chapter": data | less,
        "passwords": passwords,
        "account": {"username": "new"} | passwords,
        "BookForm": modelform_factory(library.Book, fields=fields),
        "Books": modelformset_factory(library.Book, fields=fields, extra=0),
        "Inline": inlineformset_factory(library.Author, library.Book, fields=["title", "isbn"]),
        "book": book,
        "second": second,
        "stranger": library.Book.objects.using("other").get(pk=1),
        "author": read(library.Author, pk=1),
        "second_author": read(library.Author, pk=2),
        "profile": read(library.Profile, pk=1),
        "tag": read(library.Tag, name="old"),
        "parent": read(library.Tag, name="parent"),
        "child": read(library.Tag, name="child"),
        "novel": read(library.Novel),
        "note": read(library.Note, pk=1),
        "chapter": read(library.Chapter, pk=1),
        "price": read(library.Price),
        "series": read(library.Series),
        "book_type": read(ContentType, app_label="library", model="book"),
        "user": user,
        "group": read(Group),
    }
    modules = (library, models, auth, auth_forms, shortcuts)
    functions = [
        get,
        post,
        new_request,
        saved_session,
        dumped,
        dumped_file,
        forget,
        empty,
        unmigrate,
    ]
    functions += [forget_initial, drop_cache_table, stale, answer_with, new_case, new_class]
    functions += [setup_databases]
    known |= {function.__name__: function for function in functions}
    return {name: value for module in modules for name, value in vars(module).items()} | known


def asynchronous(code: str, known: dict) -> str | None:
    """Return the asynchronous form of a call, or None if there is none."""
    tree = ast.parse(code).body
    if len(tree) != 1 or not isinstance(tree[0], ast.Expr):
        return None
    match tree[0].value:
        case ast.Call(ast.Name("list"), [ast.Call(ast.Attribute(_, "iterator")) as rows]):
            rows.func.attr = "aiterator"
            return f"[each async for each in {ast.unparse(rows)}]"
        case ast.Call(ast.Name("list"), [rows]) if is_queryset(rows, known):
            return f"[each async for each in {ast.unparse(rows)}]"
        case ast.Call(ast.Name(name) as function) as call if name in FUNCTIONS:
            function.id = f"a{name}"
            return f"await {ast.unparse(call)}"
        case ast.Call(ast.Attribute(owner, name) as function) as call:
            method = getattr(type(evaluate(owner, known)), f"a{name}", print)
            if inspect.iscoroutinefunction(inspect.unwrap(method)):
                function.attr = f"a{name}"
                return f"await {ast.unparse(call)}"
    return None


def evaluate(expression: ast.expr, known: dict):
    with contextlib.suppress(Exception):
        return eval(ast.unparse(expression), dict(known))


def is_queryset(expression: ast.expr, known: dict) -> bool:
    return hasattr(type(evaluate(expression, known)), "__aiter__")


def run(code: str, known: dict) -> None:
    if code.startswith(("await ", "[each async")):
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        from asgiref.sync import async_to_sync

        async def perform():
            await eval(compile(code, "call", "eval", flags), known)

        async_to_sync(perform)()
    else:
        exec(compile(code, "call", "exec"), known)


def ask(recorder: Recorder, folder: Path, call, form: str | None = None) -> tuple:
    """Run a call on new copies of the databases. Return what Django asked, and its async form."""
    from django.apps import apps
    from django.contrib.contenttypes.models import ContentType
    from django.contrib.sites.models import Site
    from django.core.cache import caches
    from django.db import connections

    def renew():
        connections.close_all()
        for alias in ALIASES:
            shutil.copy(folder / f"{alias}.filled", folder / f"{alias}.sqlite3")
        ContentType.objects.clear_cache()
        Site.objects.clear_cache()
        caches["memory"].clear()

    random.seed(0)  # The cache table is culled, and sessions are cleared, at random.
    with contextlib.ExitStack() as stack:
        renew()
        known = names(stack)
        if not call.cold:
            for alias in ALIASES:
                manager = ContentType.objects.db_manager(alias)
                manager.get_for_models(*apps.get_models())
        exec(call.before, known)
        recorder.start()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                run(form or call.code, known)
            except (Exception, SystemExit) as error:
                raise RuntimeError(f"this call failed: {form or call.code}") from error
        asked = recorder.asked(call.vague)
        later = asynchronous(call.code, known)
    return asked, later


def record(recorder: Recorder, folder: Path) -> dict:
    from calls import GROUPS
    from django.db import connections

    for alias in ALIASES:
        fill(alias)
    connections.close_all()
    for alias in ALIASES:
        shutil.copy(folder / f"{alias}.sqlite3", folder / f"{alias}.filled")
    recorder.places.clear()
    groups: dict[str, list[dict]] = {}
    for group, calls in GROUPS.items():
        rows = groups[group] = []
        for call in calls:
            if call.since > django.VERSION:
                continue
            asked, form = ask(recorder, folder, call)
            row = {"call": call.code, "note": call.note, "asked": asked}
            if form:
                row["async"] = form
                other, _ = ask(recorder, folder, call, form)
                if list(other.items()) != list(asked.items()):
                    row["async_asked"] = other
            rows.append(row)
    connections.close_all()
    return {"django": django.__version__, "groups": groups, "not_reached": not_reached(recorder)}


def not_reached(recorder: Recorder) -> dict[str, list[str]]:
    """Return the functions of Django with a question to the router that was not asked."""
    found: dict[str, list[str]] = {}
    for path in sorted(DJANGO.rglob("*.py")):
        if path == DJANGO / "db" / "utils.py":
            continue
        lines = {line for file, line in recorder.places if Path(file) == path}
        missed = [
            name
            for name, first, last in questions(ast.parse(path.read_text()))
            if not lines & set(range(first, last + 1))
        ]
        if missed:
            found[path.relative_to(DJANGO).as_posix()] = list(dict.fromkeys(missed))
    return found


def questions(tree: ast.AST, name: str = "") -> Iterator[tuple[str, int, int]]:
    """Yield the function of each question to the router, and the question's lines."""
    for node in ast.iter_child_nodes(tree):
        inside = name
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            inside = f"{name}.{node.name}".lstrip(".")
        match node:
            case ast.Call(ast.Attribute(ast.Name("router"), method)) if method in METHODS:
                yield inside, node.lineno, node.end_lineno or node.lineno
        yield from questions(node, inside)


def main(answer: str | None = None) -> None:
    warnings.simplefilter("ignore")
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    recorder = Recorder(answer)
    with tempfile.TemporaryDirectory() as folder:
        set_up(recorder, Path(folder))
        recorded = record(recorder, Path(folder))
    print(json.dumps(recorded, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
