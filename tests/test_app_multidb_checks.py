"""The app ``multidb_checks`` in each other example, and in a new project by its docstring alone."""

import re
import shutil
import subprocess
import sys

import pytest
from bare import EXAMPLES, BareProject

from livedocs.pages import COMMAND

#: The example that has the app, and the others.
HOME = EXAMPLES / "functional"
OTHERS = sorted(path.parent.name for path in EXAMPLES.glob("*/manage.py") if path.parent != HOME)
CREATE = re.compile(r"^Create\n-+\n(?P<text>.*?)^\w[^\n]*\n-+\n", re.MULTILINE | re.DOTALL)


@pytest.fixture(params=OTHERS)
def example(request, tmp_path):
    """A copy of an example with the app, whose databases are made by the README's commands."""
    ignored = shutil.ignore_patterns("*.sqlite3*", "__pycache__", ".*")
    folder = shutil.copytree(EXAMPLES / request.param, tmp_path / request.param, ignore=ignored)
    shutil.copytree(HOME / "multidb_checks", folder / "multidb_checks", ignore=ignored)
    settings = folder / "shop/settings.py"
    settings.write_text(f'{settings.read_text()}\nINSTALLED_APPS += ["multidb_checks"]\n')
    for command, _ in COMMAND.findall(
        re.sub("^ +", "", CREATE.search((folder / "README.rst").read_text())["text"], flags=re.M)
    ):
        if command.startswith("python manage.py"):
            run(folder, *command.split()[2:])
    return folder


def run(folder, *arguments):
    process = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=folder, capture_output=True, text=True
    )
    return process.returncode, process.stdout, process.stderr


def test_no_false_alarm_in_the_other_examples(example):
    # In 6.1, check asks all databases. Other apps have checks of databases, which pass too.
    status, printed, errors = run(example, "check", "--tag=multidb", "--fail-level=WARNING")
    assert (status, errors) == (0, "") and "no issues" in printed
    status, printed, errors = run(example, "drift")
    assert (status, errors) == (0, "")
    assert re.search(r"^default: \d\d tables, nothing differs.$", printed, re.MULTILINE)


MODELS = """
    from django.db import models

    class Note(models.Model):
        text = models.CharField(max_length=100)
"""
# A router that forgets the tables of other apps.
ROUTER = """
    class NotesRouter:
        def db_for_read(self, model, **hints):
            return "notes" if model._meta.app_label == "notes" else "default"

        db_for_write = db_for_read

        def allow_migrate(self, db, app_label, **hints):
            return db == "notes" if app_label == "notes" else None
"""
SETTINGS = """
DATABASES["notes"] = DATABASES["default"] | {"NAME": BASE_DIR / "notes.sqlite3"}
DATABASE_ROUTERS = ["site_.routers.NotesRouter"]
SILENCED_SYSTEM_CHECKS = []
"""
TESTS = """
    from django.db import transaction
    from django.test import TestCase

    from notes.models import Note

    class NotesTest(TestCase):
        databases = "__all__"

        @classmethod
        def setUpTestData(cls):
            Note.objects.create(text="outside of any block of the project")

        def test_add(self):
            with transaction.atomic():
                Note.objects.create(text="inside of a block on default")
"""


def test_the_docstring_is_enough(tmp_path):
    project = BareProject(tmp_path / "project", MODELS)
    project.take("functional", "multidb_checks")
    project.follow("multidb_checks")
    project.manage("makemigrations", "notes", "-v", "0")
    assert "no issues" in project.manage("check", "--fail-level=WARNING").replace(
        "(1 silenced)", "(0 silenced)"
    )
    project.write("site_/routers.py", ROUTER)
    project.append("site_/settings.py", SETTINGS)
    assert "multidb.W012" in project.manage("check", "--fail-level=WARNING", status=1)
    project.manage("migrate", "-v", "0", "--skip-checks")
    project.manage("migrate", "-v", "0", "--skip-checks", "--database=notes")
    assert "differs" in project.manage("drift")
    project.replace("site_/routers.py", "else None", 'else db == "default"')
    assert "no issues" in project.manage("check", "--fail-level=WARNING")
    assert 'of the app "auth" exist' in project.manage("drift", status=1)
    project.write("notes/tests.py", TESTS)
    printed = project.manage("test", "notes")
    assert printed.count("TwoDatabasesWarning") == 1
    assert 'which needs its own atomic(using="notes").' in printed
