"""Each example's own suite, run from its own folder, as its reader would."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# What is no part of a pattern. `diff -r` of two examples is to show what a pattern costs, no more.
SHARED = [
    "manage.py",
    "pytest.ini",
    "shop/errors.py",
    "shop/middleware.py",
    "shop/static/shop.css",
    "shop/templates/base.html",
    "shop/templates/pages.html",
    "shop/templates/registration/login.html",
]
EXAMPLES = sorted(path.parent for path in Path(__file__).parents[1].glob("examples/*/manage.py"))


@pytest.fixture(params=EXAMPLES, ids=lambda folder: folder.name)
def example(request, tmp_path):
    """A copy of an example's folder, alone."""
    ignored = shutil.ignore_patterns("*.sqlite3*", "__pycache__", ".*")
    return shutil.copytree(request.param, tmp_path / request.param.name, ignore=ignored)


def test_its_suite(example):
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=example, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert " passed" in process.stdout


def test_no_migration_is_missing(example):
    command = ["manage.py", "makemigrations", "--check", "--dry-run"]
    process = subprocess.run(
        [sys.executable, *command], cwd=example, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stdout + process.stderr


@pytest.mark.parametrize("file", SHARED)
def test_what_examples_share_is_the_same_in_each(file):
    assert len({(example / file).read_bytes() for example in EXAMPLES}) == 1
