"""The app ``outbox``, installed by its docstring alone."""

import pytest
from bare import BareProject

MODELS = """
    from django.db import models


    class Note(models.Model):
        text = models.CharField(max_length=100)


    class Copy(models.Model):
        note_id = models.BigIntegerField()
        text = models.CharField(max_length=100)
"""
OTHER = 'DATABASES["other"] = DATABASES["default"] | {"NAME": BASE_DIR / "other.sqlite3"}\n'
# Each line of the docstring, and the message when the line is missing.
LINES = {
    'INSTALLED_APPS += ["outbox"]': "doesn't declare an explicit app_label",
    'OUTBOX_SOURCES = ["default"]': "outbox.E001",
    'OUTBOX_RECEIVERS = {"notes": ("other", "notes.receiving.receive")}': "outbox.E001",
}


@pytest.fixture
def project(tmp_path):
    project = BareProject(tmp_path / "project", MODELS)
    project.append("site_/settings.py", OTHER)
    project.take("functional", "outbox")
    files = {name: f"{name}.py" for name in ("notes/saving", "notes/receiving")}
    project.follow("outbox", **files)
    return project


def test_the_docstring_is_enough(project):
    assert "no issues" in project.manage("check")
    project.manage("makemigrations", "notes", "-v", "0")
    for alias in ("default", "other"):
        project.manage("migrate", "-v", "0", f"--database={alias}")
    project.shell("""
        from notes.models import Note
        from notes.saving import save

        save(Note(text="wind the clock"))
    """)
    assert "notes: 1 waiting" in project.manage("outbox_status")
    assert project.manage("deliver") == "1 delivered, 0 failed.\n"
    copies = "from notes.models import Copy; print(Copy.objects.using('other').get().text)"
    assert project.shell(copies) == "wind the clock\n"
    assert "No changes detected" in project.manage("makemigrations", "--check", "--dry-run")


@pytest.mark.parametrize(("line", "said"), LINES.items())
def test_a_line_that_is_left_out_is_said(project, line, said):
    project.replace("site_/settings.py", line, "")
    project.append("notes/models.py", "import notes.saving  # as a view does\n")
    assert said in project.manage("check", status=1)


def test_a_router_that_is_left_out_is_said(project):
    """With another router, which keeps the tables of other apps out."""
    project.write(
        "site_/routers.py",
        """
        class Router:
            def allow_migrate(self, db, app_label, **hints):
                return (db == "other") == (app_label == "notes")
        """,
    )
    project.replace("site_/settings.py", "outbox.routers.OutboxRouter", "site_.routers.Router")
    assert 'The routers do not allow the tables of the outbox in "other"' in project.manage(
        "check", status=1
    )


SHARDS = """
INSTALLED_APPS += ["outbox"]
DATABASE_ROUTERS = ["outbox.routers.OutboxRouter", *DATABASE_ROUTERS]
OUTBOX_SOURCES = SHARDS
OUTBOX_RECEIVERS = {"notes": ("default", "notes.receiving.receive")}
"""
SEND = """
    from django.db import transaction
    from notes.models import Author
    from outbox.sending import send
    from sharding.keys import keys_of

    author, _ = Author.objects.get_or_create(pk=keys_of(7)[0], defaults={"name": "Ada"})
    with transaction.atomic(using=author.shard):
        note = author.notes.create(text="wind the clock")
        send("notes", key=author.pk, body=author.shard, using=author.shard)
"""


def test_a_shard_sends_until_its_bucket_moves(tmp_path):
    """After the move, the key has messages on two shards, and they have no common order."""
    project = BareProject(tmp_path / "project", "from django.db import models\n")
    project.take("sharding", "sharding")
    project.take("functional", "outbox")
    project.follow("sharding")
    project.append("site_/settings.py", SHARDS)
    project.write(
        "notes/receiving.py",
        """
        def receive(message):
            print(message.body, message.number)
        """,
    )
    project.manage("makemigrations", "notes", "-v", "0")
    for arguments in (["migrate"], ["migrate_shards"]):
        project.manage(*arguments, "-v", "0")
    for alias in ("shard0", "shard1"):
        project.manage("migrate", "outbox", f"--database={alias}", "-v", "0")
    project.shell(SEND)
    project.shell(SEND)
    moved = project.manage("reshard", "--to", "shard1", "--buckets", "7")
    assert "Buckets moved to shard1" in moved
    project.shell(SEND)
    assert project.manage("deliver").splitlines() == [
        "shard0 1",
        "shard0 2",
        "shard1 1",
        "3 delivered, 0 failed.",
    ]
