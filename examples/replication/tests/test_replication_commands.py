"""The commands ``replicate``, ``replication_status`` and ``promote``."""

import os
import re
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connections
from replicated import contents, open_file

from replication import files, log
from replication.management.commands import replicate
from replication.snapshot import connect_to_log
from tests.engines import only_sqlite

pytestmark = only_sqlite("the app replication is for SQLite; a server has its own replication")

SCRIPT = "CREATE TABLE thing (id INTEGER PRIMARY KEY, value)"


class Files:
    """The files of the three databases, which the commands use instead of those in the settings."""

    def __init__(self, folder):
        self.folder = folder

    def __getitem__(self, alias):
        return self.folder / f"{alias}.sqlite3"

    def write(self, sql, alias="default"):
        with closing(open_file(self[alias])) as connection:
            connection.executescript(sql)

    def add(self, count=1):
        self.write("INSERT INTO thing (value) VALUES ('new');" * count)

    def count(self, alias):
        with closing(open_file(self[alias], "ro")) as connection:
            return connection.execute("SELECT count(*) FROM thing").fetchone()[0]


@pytest.fixture
def shop(tmp_path, monkeypatch):
    shop = Files(tmp_path)
    monkeypatch.setattr(files, "path_of", shop.__getitem__)
    return shop


@pytest.fixture
def migrated(shop):
    with closing(open_file(shop["default"])) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(SCRIPT)
        with files.transaction(connection):
            log.install(connection)
    return shop


@pytest.fixture
def replicated(migrated, capsys):
    call_command("replicate", snapshot=True)
    capsys.readouterr()
    return migrated


@pytest.fixture
def lines(capsys):
    """Return a function that returns the lines that were printed since its last call."""
    return lambda: capsys.readouterr().out.splitlines()


def test_snapshots(migrated, lines):
    migrated.add(3)
    call_command("replicate", snapshot=True)
    assert lines() == ["replica1: a snapshot at position 4.", "replica2: a snapshot at position 4."]
    for alias in ("replica1", "replica2"):
        assert contents(migrated[alias]) == contents(migrated["default"])


def test_changes(replicated, lines):
    replicated.add()
    call_command("replicate", only="replica2")
    assert lines() == ["replica2: 1 change applied, at position 2."]
    replicated.add()
    call_command("replicate")
    assert lines() == [
        "replica1: 2 changes applied, at position 3.",
        "replica2: 1 change applied, at position 3.",
    ]
    call_command("replicate")
    assert lines()[0] == "replica1: 0 changes applied, at position 3."
    for alias in ("replica1", "replica2"):
        assert contents(replicated[alias]) == contents(replicated["default"])


def test_a_delay_for_all_replicas_at_once(replicated):
    start = time.monotonic()
    call_command("replicate", delay="0.3")
    assert 0.3 <= time.monotonic() - start < 0.6


def test_a_change_of_schema(replicated, lines):
    replicated.write("ALTER TABLE thing ADD COLUMN colour")
    with pytest.raises(CommandError, match="Run: python manage.py migrate"):
        call_command("replicate")
    with closing(open_file(replicated["default"])) as connection, files.transaction(connection):
        log.install(connection)
    call_command("replicate", only="replica1")
    assert lines() == ["replica1: copied again at position 2, because the schema changed."]


def test_the_log_is_pruned(replicated, monkeypatch):
    monkeypatch.setattr(log, "KEEP", 3)
    replicated.add(9)
    call_command("replicate", only="replica1")
    with closing(open_file(replicated["default"])) as connection:
        assert connection.execute("SELECT min(position) FROM replication_log").fetchone() == (8,)
    with pytest.raises(CommandError) as error:
        call_command("replicate")
    assert str(error.value) == (
        "replica2 is at position 1, but the log begins at 8. "
        "Run: python manage.py replicate --snapshot --only replica2"
    )


def test_with_two_replicas_nothing_is_pruned_that_one_still_needs(replicated, monkeypatch):
    monkeypatch.setattr(log, "KEEP", 3)
    replicated.add(9)
    call_command("replicate")
    assert replicated.count("replica2") == 9


@contextmanager
def following(**options):
    """Run ``replicate --follow`` in a thread, until the end of the block."""
    stop, nap = threading.Event(), time.sleep

    def sleep(seconds):
        if stop.is_set():
            raise KeyboardInterrupt
        nap(seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replicate.time, "sleep", sleep)
        patch.setattr(replicate, "REPORT", 0.05)
        thread = threading.Thread(
            target=call_command, args=["replicate"], kwargs={"follow": True, **options}
        )
        thread.start()
        try:
            wait_for(lambda: all(map(files.is_held, files.replicas().values())))
            yield
        finally:
            stop.set()
            thread.join()


def wait_for(condition):
    until = time.perf_counter() + 10
    while not condition():
        assert time.perf_counter() < until
        threading.Event().wait(0.001)


def test_following(replicated, lines):
    with following():
        for n in range(1, 4):
            replicated.add()
            wait_for(lambda n=n: replicated.count("replica1") == replicated.count("replica2") == n)
    printed = lines()
    assert printed[-1] == "Stopped."
    changes = sum(int(line.split()[1]) for line in printed if line.startswith("replica1"))
    assert changes == 3


def test_a_replica_that_dies_and_comes_back_while_it_is_followed(replicated, capsys):
    output = ""
    trouble = "replica1 is missing. Run: python manage.py replicate --snapshot --only replica1\n"

    def printed():
        nonlocal output
        output += capsys.readouterr().out
        return output

    with following(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(replicate, "REPORT", 0.25)
        replicated["replica1"].unlink()
        replicated.add()
        wait_for(lambda: trouble in printed())
        assert not files.is_held(replicated["replica1"])
        wait_for(lambda: replicated.count("replica2") == 1)
        time.sleep(0.6)  # time for two more tries
        call_command("replicate", snapshot=True, only="replica1")
        replicated.add()
        wait_for(lambda: replicated.count("replica1") == 2)
        wait_for(lambda: "replica1: works again, at position " in printed())
    assert printed().count(trouble) == 1


def table(lines):
    return [re.split(r"  +", line.strip()) for line in lines]


def test_status(replicated, lines):
    replicated.add(3)
    call_command("replicate", only="replica1")
    lines()
    call_command("replication_status")
    header, primary, one, two = table(lines())
    assert header == ["database", "position", "behind", "up to date", "state"]
    assert primary == ["default", "4", "the primary"]
    assert (one[:3], one[4]) == (["replica1", "4", "0"], "stopped")
    assert (two[:3], two[4]) == (["replica2", "1", "3"], "stopped")
    assert float(two[3].removesuffix(" s ago")) >= float(one[3].removesuffix(" s ago"))


def test_status_of_replicas_in_use_and_in_trouble(replicated, lines):
    replicated["replica2"].unlink()
    with closing(files.hold(replicated["replica1"])):
        call_command("replication_status")
    *_, one, two = table(lines())
    assert one[4] == "following"
    assert two == ["replica2", "missing: needs a snapshot"]
    replicated["replica2"].write_bytes(b"no database" * 100)
    call_command("replication_status")
    assert lines()[-1].endswith("broken (file is not a database): needs a snapshot")


def test_promotion(replicated, lines):
    replicated.add(2)
    call_command("replicate", only="replica1")
    replicated.add()
    lost = contents(replicated["replica1"])
    for file in replicated.folder.glob("default*"):
        file.unlink()
    lines()
    call_command("promote", "replica1")
    first, second, last = lines()
    assert first == "default.sqlite3 now has the data of replica1, at position 3."
    assert re.fullmatch(
        r"Lost: all changes after replica1 was last up to date, \d\.\d s ago\.", second
    )
    assert last == "Now run: python manage.py replicate --snapshot"
    assert contents(replicated["default"]) == lost
    with pytest.raises(CommandError, match="replica1 is a replica of another primary.*replica2 is"):
        call_command("replicate")

    # The new primary has a log, and its positions continue.
    call_command("replicate", snapshot=True)
    replicated.add()
    lines()
    call_command("replicate")
    assert lines()[0] == "replica1: 1 change applied, at position 5."
    assert contents(replicated["replica2"]) == contents(replicated["default"])


def test_promotion_in_place_of_a_damaged_file(replicated, lines):
    for file in replicated.folder.glob("default*"):
        file.unlink()
    replicated["default"].write_bytes(b"no database" * 1000)
    call_command("promote", "replica2")
    assert replicated.count("default") == 0
    kept = replicated.folder / re.search("copied to (.*)\\.", lines()[2])[1]
    assert kept.read_bytes() == b"no database" * 1000


def test_promotion_of_a_replica_when_the_primary_answers(replicated, lines):
    replicated.add(5)
    with pytest.raises(CommandError) as error:
        call_command("promote", "replica1")
    assert str(error.value).startswith(
        "The primary still answers. It is at position 6, and replica1.sqlite3 is at position 1. "
    )
    assert replicated.count("default") == 5

    with closing(open_file(replicated["default"])) as reader:  # must see the new data later
        assert reader.execute("SELECT count(*) FROM thing").fetchone() == (5,)
        call_command("promote", "replica1", force=True)
        assert reader.execute("SELECT count(*) FROM thing").fetchone() == (0,)
    printed = lines()
    assert printed[1] == "Lost: 5 changes that replica1 had not applied."
    kept = replicated.folder / re.search("copied to (.*)\\.", printed[2])[1]
    with closing(open_file(kept, "ro")) as connection:
        assert connection.execute("SELECT count(*) FROM thing").fetchone() == (5,)
    with closing(connect_to_log(replicated["default"])) as connection:
        # This position is later than all positions that a reader may send.
        assert connection.execute("SELECT max(position) FROM replication_log").fetchone() == (7,)


@pytest.mark.parametrize("force", [False, True])
def test_a_primary_that_is_only_busy_is_not_overwritten(replicated, force):
    """For example, a backup tool locks it. It cannot be read now, and may have more changes."""
    replicated.add()
    with closing(open_file(replicated["default"])) as busy:
        busy.execute("PRAGMA locking_mode = EXCLUSIVE")
        busy.execute("BEGIN EXCLUSIVE")
        with pytest.raises(CommandError, match="default.sqlite3, exists but can't be read: "):
            call_command("promote", "replica1", force=force)
    assert replicated.count("default") == 1
    assert not list(replicated.folder.glob("default.sqlite3.*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_a_primary_that_may_not_be_read_is_not_overwritten(replicated):
    replicated["default"].chmod(0)
    with pytest.raises(CommandError, match="unable to open database file. It may be busy"):
        call_command("promote", "replica1")


def test_a_primary_whose_log_is_empty_or_gone_answers(replicated):
    replicated.add()
    for position, sql in (2, "DELETE FROM replication_log"), (0, "DROP TABLE replication_log"):
        replicated.write(sql)
        with pytest.raises(
            CommandError, match=f"^The primary still answers. It is at position {position},"
        ):
            call_command("promote", "replica1")
    assert replicated.count("default") == 1


def test_promotion_in_place_of_an_empty_file(replicated):
    """When the running site opens a missing file, SQLite creates an empty file."""
    for file in replicated.folder.glob("default*"):
        file.unlink()
    replicated["default"].touch()
    call_command("promote", "replica1")
    assert replicated.count("default") == 0


def test_two_promotions_in_a_second_keep_two_files(replicated, lines, monkeypatch):
    monkeypatch.setattr("replication.promotion.time.strftime", lambda format: "now")
    replicated.add()
    call_command("promote", "replica1", force=True)
    call_command("replicate", snapshot=True)
    call_command("promote", "replica2", force=True)
    kept = [replicated.folder / f"default.sqlite3.now{suffix}" for suffix in ("", "-2")]
    rows = []
    for file in kept:
        with closing(open_file(file, "ro")) as connection:
            rows += connection.execute("SELECT count(*) FROM thing").fetchone()
    assert rows == [1, 0]


def test_two_promotions_at_a_time(replicated):
    """The second promotion would overwrite a primary that already has new writes."""
    for file in replicated.folder.glob("default*"):
        file.unlink()
    with (
        closing(files.hold(replicated["default"])),
        pytest.raises(
            CommandError, match="^Another process replicates to default.sqlite3. Stop it first.$"
        ),
    ):
        call_command("promote", "replica1")
    assert not replicated["default"].exists()


def test_a_broken_replica_is_not_promoted(replicated):
    replicated["replica1"].write_bytes(b"no database" * 100)
    with pytest.raises(
        CommandError, match=r"^replica1 is broken \(.*\), so it can't be promoted.$"
    ):
        call_command("promote", "replica1", force=True)


@pytest.mark.parametrize("value", ["-1", "soon", "inf", "nan", ""])
def test_a_delay_that_is_wrong(shop, value):
    with pytest.raises(CommandError) as error:
        call_command("replicate", f"--delay={value}")
    assert str(error.value) == (f"--delay must be a number of seconds, 0 or more, not {value!r}.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["replicate", "--only", "nine"], 'There is no replica "nine". The replicas are: '),
        (["replicate", "--only", "default"], '"default" is the primary. The replicas are: '),
        (["promote", "nine"], 'There is no replica "nine". The replicas are: replica1, replica2.'),
        (["promote", "default"], '"default" is the primary. The replicas are: replica1, replica2.'),
        (["replicate"], "replica1 is missing. Run: python manage.py replicate --snapshot --only"),
        (["promote", "replica1"], "replica1 is missing, so it can't be promoted."),
    ],
)
def test_what_cannot_be_done(migrated, arguments, message):
    with pytest.raises(CommandError) as error:
        call_command(*arguments)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_settings_without_a_replica(migrated, monkeypatch):
    for alias in settings.REPLICAS["default"]:
        monkeypatch.setitem(connections.settings[alias], "TEST", {"MIRROR": None})
    for arguments in ["replicate"], ["promote", "replica1"], ["replication_status"]:
        with pytest.raises(CommandError, match="^No database in DATABASES is a replica. Add this"):
            call_command(*arguments)


@pytest.mark.parametrize(
    "arguments", [["replicate"], ["replicate", "--snapshot"], ["replication_status"]]
)
def test_a_primary_that_is_missing_or_not_migrated_or_damaged(shop, arguments):
    def message():
        with pytest.raises(CommandError) as error:
            call_command(*arguments)
        return str(error.value)

    assert "The primary, default.sqlite3, is missing." in message()
    assert not shop["default"].exists()
    shop.write(SCRIPT)
    assert "The primary, default.sqlite3, has no log. Run: python manage.py migrate" in message()
    shop["default"].write_bytes(b"no database" * 100)
    assert "The primary, default.sqlite3: file is not a database" in message()


def test_a_folder_that_does_not_take_the_replica(migrated, monkeypatch):
    monkeypatch.setattr(files, "replicas", lambda only: {"replica1": migrated["no folder/x"]})
    with pytest.raises(CommandError, match="x.sqlite3-lock: unable to open database file$"):
        call_command("replicate", snapshot=True)


def test_another_engine(monkeypatch):
    monkeypatch.setattr("django.db.backends.sqlite3.base.DatabaseWrapper.vendor", "postgresql")
    for command in (["replicate"], ["replication_status"], ["promote", "replica1"]):
        with pytest.raises(CommandError, match='The app "replication" is only for SQLite'):
            call_command(*command)


MIGRATION = """
from django.db import migrations, models


def reprice(apps, schema_editor):
    Product = apps.get_model("products", "Product")
    Product.objects.using(schema_editor.connection.alias).update(price=7)


class Migration(migrations.Migration):
    dependencies = [("products", "0001_initial")]
    operations = [
        migrations.RemoveField("product", "description"),  # refused while a trigger uses it
        migrations.RunPython(reprice),
        migrations.AlterField("product", "name", models.CharField(max_length=50)),
        migrations.CreateModel("Shelf", fields=[("id", models.BigAutoField(primary_key=True))]),
    ]
"""


def test_migrations_while_the_replicas_follow(manage):
    """A test of all parts together: each command in a separate process, and Django's migrations."""
    assert manage("migrate", "-v", "0").returncode == 0
    process = manage("replicate")
    assert (process.returncode, process.stdout) == (1, "")
    (line,) = process.stderr.splitlines()
    assert line.startswith("ReplicationError: replica1 is missing. Run: python manage.py")
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    follower = subprocess.Popen(
        [sys.executable, "manage.py", "replicate", "--snapshot", "--follow"],
        cwd=manage.folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert follower.stdout.readline().startswith("replica1: a snapshot at position ")
        assert manage("populate", "--products", "5", "--reviews", "5").returncode == 0
        (manage.folder / "products/migrations/0002_shelf.py").write_text(MIGRATION)
        process = manage("migrate", "-v", "0")
        assert (process.returncode, process.stderr) == (0, "")
        expected = contents(manage.folder / "default.sqlite3")
        assert "products_shelf" in expected[1] and "(1, 7, " in expected[1]["products_product"][0]
        for alias in ("replica1", "replica2"):
            wait_for(lambda alias=alias: contents(manage.folder / f"{alias}.sqlite3") == expected)
    finally:
        follower.terminate()
        follower.communicate()
    process = manage("migrate", "-v", "0")
    process = manage("replicate")
    assert process.stdout.startswith("replica1: 0 changes applied")  # and no other snapshot
