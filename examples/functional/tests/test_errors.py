"""Commands that can't use a database print one line, and end with exit status 1."""

import os
import signal
import subprocess
import sys

import pytest
from django.core.management import CommandError

from products.models import Product
from reviews.models import Review
from shop.errors import database_errors_in_one_line
from tests.engines import lose

both_commands = pytest.mark.parametrize("command", ["populate", "check_references"])


def in_one_line(process):
    assert (process.returncode, process.stdout) == (1, "")
    (line,) = process.stderr.splitlines()
    return line


@both_commands
def test_a_database_that_is_not_migrated(manage, command):
    line = in_one_line(manage(command))
    assert line.startswith('CommandError: Database "default" has no table ')
    assert line.endswith("Run: python manage.py migrate")
    assert manage("migrate").returncode == 0

    line = in_one_line(manage(command))
    assert line.startswith('CommandError: Database "reviews" has no table reviews_review. Run: ')
    # The command in the message creates the table.
    assert manage(*line.partition("manage.py ")[2].split()).returncode == 0
    assert manage(command).returncode == 0


@both_commands
def test_a_database_that_cannot_be_opened(manage, command):
    assert manage("migrate").returncode == 0
    name, reason = lose("reviews", manage.folder)
    line = in_one_line(manage(command))
    assert line.startswith(f'CommandError: Database "reviews" ({name}): ')
    assert reason in line


@pytest.mark.parametrize(
    ("alias", "command"),
    [("reviews", "migrate --database=reviews"), ("default", "runserver --noreload 0")],
)
def test_a_database_that_cannot_be_opened_by_a_command_of_django_s(manage, alias, command):
    name, reason = lose(alias, manage.folder)
    process = manage(*command.split())
    (line,) = process.stderr.splitlines()
    assert process.returncode == 1
    assert line.startswith(f'CommandError: Database "{alias}" ({name}): ')
    assert reason in line


def test_a_database_that_cannot_be_opened_by_a_runserver_that_reloads(manage):
    name, reason = lose("default", manage.folder)
    process = subprocess.Popen(
        [sys.executable, "manage.py", "runserver", "0"],
        cwd=manage.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        line = next(line for line in process.stderr if not line.startswith("Watching "))
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the reloader, and the server
        process.communicate()
    assert line.startswith(f'CommandError: Database "default" ({name}): ')
    assert reason in line


def test_another_error_of_a_database_has_its_traceback(manage):
    query = "from products.models import Product; Product.objects.count()"
    process = manage("shell", "--command", query)
    assert process.returncode == 1 and process.stderr.startswith("Traceback ")


def test_a_number_that_is_wrong_has_exit_status_1_too(manage):
    line = in_one_line(manage("populate", "--reviews", "ten"))
    assert line.startswith("CommandError: --reviews must be a whole number")


@pytest.mark.django_db(databases=["default", "reviews"])
def test_a_failure_on_the_way_names_the_database_that_failed(product):
    with (
        pytest.raises(CommandError, match='^Database "reviews" .*rating_1_to_5'),
        database_errors_in_one_line(Review, Product),
    ):
        assert Product.objects.exists()
        Review.objects.create(product_id=product.pk, author_id=1, rating=9, text="")
