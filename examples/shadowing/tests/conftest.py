import os
import shutil
import subprocess
import sys

import pytest
from django.conf import settings
from django.db import connections


def pytest_configure():
    # The usual hasher takes a third of a second for each password, as it should.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


IGNORED = shutil.ignore_patterns("__pycache__", ".*")
# Of the test run, the environment names the settings: manage.py is to find them by itself.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}


class Copy:
    """A copy of the project, with the database files that its commands make."""

    def __init__(self, source, folder):
        self.folder = shutil.copytree(source, folder, ignore=IGNORED)

    def __call__(self, *arguments, live=False):
        """Run ``manage.py`` in it, with production's settings if ``live``."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments, *["--settings=shop.live"][: int(live)]],
            cwd=self.folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def does(self, *arguments, live=False):
        """Run ``manage.py``, which is to succeed, and return what it wrote."""
        process = self(*arguments, live=live)
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """A copy of the project with no database file, not to be written to."""
    folder = tmp_path_factory.mktemp("bare") / "shadowing"
    ignored = shutil.ignore_patterns("*.sqlite3*", "__pycache__", ".*")
    shutil.copytree(settings.BASE_DIR, folder, ignore=ignored)
    return folder


@pytest.fixture(scope="session")
def filled(bare, tmp_path_factory):
    """A copy whose production, snapshot and local database are made, not to be written to."""
    shop = Copy(bare, tmp_path_factory.mktemp("filled") / "shadowing")
    shop.does("vendor_catalogue", "--articles=120")
    shop.does("migrate", live=True)
    shop.does("populate", "--products=40", "--customers=20", "--reviews=60", live=True)
    shop.does("snapshot", live=True)
    shop.does("migrate")
    shop.does("shadow", "reviews.Review")
    return shop.folder


@pytest.fixture
def empty_shop(bare, tmp_path):
    """A copy of one's own of the project, with no database file yet."""
    return Copy(bare, tmp_path / "shadowing")


@pytest.fixture
def shop(filled, tmp_path):
    """A copy of one's own of the project, with all of its databases made and filled."""
    return Copy(filled, tmp_path / "shadowing")


@pytest.fixture(scope="session")
def django_db_setup(filled, tmp_path_factory):
    """The databases of tests that use the ORM in this process: files, and not Django's test ones.

    Those would be made by ``migrate``, which makes nothing of a snapshot or of a vendor's tables.
    """
    folder = Copy(filled, tmp_path_factory.mktemp("here") / "shadowing").folder
    settings.SNAPSHOT = folder / settings.SNAPSHOT.name
    settings.VENDOR = folder / settings.VENDOR.name
    settings.DATABASES["default"]["NAME"] = folder / "local.sqlite3"
    settings.DATABASES["production"]["NAME"] = f"{settings.SNAPSHOT.as_uri()}?mode=ro"
    settings.DATABASES["vendor"]["NAME"] = f"{settings.VENDOR.as_uri()}?mode=ro"
    assert connections.settings is settings.DATABASES
