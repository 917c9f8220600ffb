"""The app ``overlay`` in another project, installed by its docstring alone."""

import ast
import re
import shutil

import pytest
from bare import EXAMPLES, BareProject

APP = EXAMPLES / "shadowing" / "overlay"
# In reading order. No module needs a later one: first whole tables, then rows.
WHOLE_TABLES = [
    "routers",
    "reading",
    "errors",
    "management.commands.snapshot",
    "management.commands.shadow",
    "attached.base",
    "checks",
    "apps",
    "models",
]
ROWS = [
    "tables",
    "backend.compiler",
    "backend.base",
    "rows",
    "export",
    "management.commands.overlay",
]
MODELS = """
    from django.db import models

    class Shelf(models.Model):
        name = models.CharField(max_length=100)

    class Note(models.Model):
        shelf = models.ForeignKey(Shelf, models.CASCADE)
        text = models.CharField(max_length=100)
"""
FILL = """
from notes.models import Note, Shelf
shelf = Shelf.objects.create(name="clocks")
for text in ("wind", "oil", "sell"):
    Note.objects.create(shelf=shelf, text=text)
"""
CHANGE = """
from notes.models import Note
Note.objects.filter(text="wind").update(text="wind the clock")
Note.objects.get(text="oil").delete()
Note.objects.create(shelf_id=1, text="dust")
"""
SHOW = """
from notes.models import Note
print(*Note.objects.filter(shelf__name="clocks").order_by("pk").values_list("text", flat=True))
"""
SESSION = """
from django.contrib.sessions.backends.db import SessionStore
SessionStore().create()
"""
BEFORE, AFTER = "wind oil sell\n", "wind the clock sell dust\n"


class Site(BareProject):
    """A project with notes in production, and a developer who follows the docstring."""

    def developer(self, command, *arguments, **kwargs):
        return self.manage(command, "--settings=site_.local", *arguments, **kwargs)

    def run(self, script, **kwargs):
        return self.developer("shell", "-v", "0", "-c", script, **kwargs)

    def files(self):
        """Return the bytes of production's database and of the snapshot."""
        return [(self.folder / f"{name}.sqlite3").read_bytes() for name in ("db", "snapshot")]


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """The folder of a site that has installed the app. Tests must not write to it."""
    site = Site(tmp_path_factory.mktemp("bare") / "site", MODELS)
    site.manage("makemigrations", "notes", "-v", "0")
    site.manage("migrate", "-v", "0")
    site.manage("shell", "-v", "0", "-c", FILL)
    site.take("shadowing", "overlay")
    site.follow("overlay", local="site_/local.py")
    assert "read-only" in site.manage("snapshot")
    return site.folder


@pytest.fixture
def site(taken, tmp_path):
    """A separate copy of this site."""
    site = Site.__new__(Site)
    site.folder = shutil.copytree(taken, tmp_path / "site")
    return site


def test_the_docstring_is_enough(site):
    before = site.files()
    for settings in "site_.settings", "site_.local":
        check = ["check", "--database=default", "--fail-level=WARNING", f"--settings={settings}"]
        assert "no issues" in site.manage(*check)
    site.developer("migrate", "-v", "0")
    assert site.run(SHOW) == BEFORE
    site.run(CHANGE)
    assert site.run(SHOW) == AFTER
    assert "1        1        1" in site.developer("overlay", "status")
    assert "no issues" in site.developer("check", "--database=default")
    assert site.manage("shell", "-v", "0", "-c", SHOW) == BEFORE
    assert site.files() == before
    site.developer("overlay", "discard", "--no-input")
    assert site.run(SHOW) == BEFORE


def test_whole_tables_need_no_more_than_the_docstring_says(site):
    before = site.files()
    for name in ROWS:
        (site.folder / "overlay" / f"{name.replace('.', '/')}.py").unlink()
    site.replace("site_/local.py", '"overlay.backend"', '"overlay.attached"')
    site.replace("site_/local.py", 'OVERLAID = ["notes.Note"]', 'SHADOWED += ["notes.Note"]')
    assert "no issues" in site.developer("check", "--database=default")
    site.developer("migrate", "-v", "0")
    assert site.run(SHOW) == "\n"
    assert site.developer("shadow", "notes.Note") == "notes.Note: 3 rows.\n"
    assert site.run(SHOW) == BEFORE  # a join with the shelf in the snapshot
    site.run(CHANGE)
    assert site.run(SHOW) == AFTER
    assert site.files() == before


def test_other_aliases(site):
    site.replace("site_/settings.py", '"default", "production"', '"trial", "frozen"')
    site.replace("site_/local.py", '"default": {', '"trial": {')
    site.replace("site_/local.py", '"production": {', '"default": {}, "frozen": {')
    before = site.files()
    assert "no issues" in site.developer("check", "--database=trial", "--database=frozen")
    said = site.run(CHANGE, status=1)
    assert said.endswith("is not up to date: run python manage.py migrate --database=trial\n")
    site.developer("migrate", "-v", "0", "--database=trial")
    site.developer("shadow", "auth.User")
    site.run(CHANGE)
    assert site.run(SHOW) == AFTER
    assert site.files() == before


PRODUCTION, DEVELOPER = "settings.py", "local.py"
CHECK = ["check", "--fail-level=WARNING"]
#: Each line of the docstring: the settings that have it, a command that is run with these settings,
#: and its message when the line is missing.
LINES = [
    (
        PRODUCTION,
        'INSTALLED_APPS += ["overlay"]',
        DEVELOPER,
        ["migrate"],
        'add "overlay" to INSTALLED_APPS',
    ),
    (
        PRODUCTION,
        'LOCAL_DATABASE, SNAPSHOT_DATABASE = "default", "production"',
        PRODUCTION,
        CHECK,
        "LOCAL_DATABASE must be",
    ),
    (PRODUCTION, "SHADOWED = OVERLAID = []", PRODUCTION, CHECK, "SHADOWED must be"),
    (
        PRODUCTION,
        'SNAPSHOT = BASE_DIR / "snapshot.sqlite3"',
        PRODUCTION,
        ["snapshot"],
        "write SNAPSHOT =",
    ),
    (PRODUCTION, "PERSONAL", PRODUCTION, ["snapshot"], "write PERSONAL ="),
    (PRODUCTION, "HARMLESS", PRODUCTION, ["snapshot"], "write HARMLESS ="),
    (DEVELOPER, "from .settings import *", DEVELOPER, CHECK, "'BASE_DIR' is not defined"),
    (DEVELOPER, '"ENGINE": "overlay.backend",', DEVELOPER, CHECK, "overlay.E006"),
    (
        DEVELOPER,
        '"NAME": BASE_DIR / "local.sqlite3",',
        DEVELOPER,
        ["migrate"],
        "Please supply the NAME value",
    ),
    (DEVELOPER, '"production": {', DEVELOPER, CHECK, "overlay.E002"),
    (DEVELOPER, "?mode=ro", DEVELOPER, CHECK, "overlay.W009"),
    (
        DEVELOPER,
        'DATABASE_ROUTERS = ["overlay.routers.ShadowRouter"]',
        DEVELOPER,
        CHECK,
        "overlay.E005",
    ),
    (
        DEVELOPER,
        'SHADOWED = ["admin", "auth", "contenttypes", "sessions"]',
        DEVELOPER,
        ["shell", "-v", "0", "-c", SESSION],
        "sessions.Session is read from the snapshot",
    ),
    (
        DEVELOPER,
        'OVERLAID = ["notes.Note"]',
        DEVELOPER,
        ["shell", "-v", "0", "-c", CHANGE],
        "notes.Note is read from the snapshot",
    ),
]


@pytest.mark.parametrize(
    ("file", "line", "whose", "command", "said"), LINES, ids=[line for _, line, *_ in LINES]
)
def test_a_line_that_is_left_out_is_said(site, file, line, whose, command, said):
    # The line is replaced by another name or entry, because the rest of its statement stays.
    left_out = {"PERSONAL": "OTHER", "HARMLESS": "OTHER", '"production": {': '"other": {'}.get(
        line, ""
    )
    site.replace(f"site_/{file}", line, left_out)
    settings = f"--settings=site_.{whose.removesuffix('.py')}"
    assert said in site.manage(*command, settings, status=1)


def imported(path):
    """Return the names of this app's modules that one of its files imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules():
    """Return the files of the app's modules, by name, without those that are empty."""
    return {
        ".".join(path.relative_to(APP).with_suffix("").parts): path
        for path in APP.rglob("*.py")
        if path.stat().st_size and path != APP / "__init__.py"
    }


def test_a_module_imports_only_what_is_read_before_it():
    order = WHOLE_TABLES + ROWS
    assert sorted(modules()) == sorted(order)
    for place, name in enumerate(order):
        found = set(imported(modules()[name]))
        later = [other for other in order[place:] if f"overlay.{other}" in found]
        assert not later, f"{name} imports {later}"


def test_the_docstring_names_the_modules_in_that_order():
    docstring = ast.get_docstring(ast.parse((APP / "__init__.py").read_text()))
    lines = re.findall(r"^(``.*``)$", docstring, re.MULTILINE)
    named = [name.replace("/", ".") for line in lines for name in re.findall("``(.*?)``", line)]
    listed = [
        name.removesuffix(".base")
        for name in WHOLE_TABLES + ROWS
        # These are parts of other modules, or have nothing to read.
        if name not in ("errors", "apps", "models", "backend.compiler")
    ]
    assert named == listed
