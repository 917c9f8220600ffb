"""If ``populate`` can't use a database, it prints one line, and its exit status is 1."""

from tests.engines import lose


def in_one_line(process):
    assert (process.returncode, process.stdout) == (1, "")
    (line,) = process.stderr.splitlines()
    return line


def test_a_database_that_is_not_migrated(manage):
    line = in_one_line(manage("populate"))
    assert line.startswith('CommandError: Database "default" has no table ')
    assert line.endswith("Run: python manage.py migrate")
    assert manage("migrate").returncode == 0
    assert manage("populate").returncode == 0


def test_a_database_that_cannot_be_opened(manage):
    name, reason = lose("default", manage.folder)
    line = in_one_line(manage("populate"))
    assert line.startswith(f'CommandError: Database "default" ({name}): ')
    assert reason in line


def test_a_number_that_is_wrong_has_exit_status_1_too(manage):
    line = in_one_line(manage("populate", "--reviews", "ten"))
    assert line.startswith("CommandError: --reviews must be a whole number")
