"""The parts of ``sharding`` that docs/patterns/sharding-app.rst says you can leave out."""

import shutil

from bare import BareProject

MODELS = """
    from django.db import models

    from sharding.fields import KeyField


    class Author(models.Model):
        id = KeyField()


    class Note(models.Model):
        id = KeyField(of="author")
        author = models.ForeignKey(Author, models.CASCADE, related_name="notes")
"""
FIRST_FOUR = """
    from notes.models import Author, Note
    from sharding.buckets import alias_of
    from sharding.fields import ShardUnknown
    from sharding.keys import bucket_of, new_key

    for bucket in (0, 1023):
        author = Author(pk=new_key(bucket))
        author.save()
        note = author.notes.create()
        print(author._state.db, note._state.db, author.notes.get().author == author)
        try:
            Author.objects.get(pk=author.pk)
        except ShardUnknown:
            print(Author.objects.using(alias_of(bucket_of(author.pk))).get(pk=author.pk) == author)
"""
SHARDED = """
    from notes.models import Author
    from sharding import gather
    from sharding.keys import new_key

    for bucket in (0, 1023):
        author = Author.objects.create(pk=new_key(bucket), name="Ada")
        print(Author.objects.get(pk=author.pk).shard)
    print(gather.count(Author.objects.all()))
"""


def project_without(folder, *parts):
    project = BareProject(folder / "project", "from django.db import models\n")
    project.take("sharding", "sharding")
    project.follow("sharding")
    for part in parts:
        path = project.folder / "sharding" / part
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return project


def test_the_first_four_work_without_the_rest(tmp_path):
    project = project_without(tmp_path, "fences", "management")
    for path in (project.folder / "sharding").glob("*.py"):
        if path.stem not in {"__init__", "keys", "buckets", "fields", "routers"}:
            path.unlink()
    project.write("sharding/models.py", "from sharding.buckets import Bucket, MapVersion\n")
    project.replace("site_/settings.py", '"sharding", "sharding.fences"', '"sharding"')
    project.write("notes/models.py", MODELS)
    assert "no issues" in project.manage("check")
    said = project.manage("makemigrations", "--no-color")
    assert "- Delete model Resharding" in said
    project.manage("migrate", "-v", "0")
    for alias in ("shard0", "shard1"):
        project.manage("migrate", "-v", "0", f"--database={alias}", "notes")
    assert project.shell(FIRST_FOUR).splitlines() == [
        *["shard0 shard0 True", "True"],
        *["shard1 shard1 True", "True"],
    ]


def test_without_the_admin_and_without_moving(tmp_path):
    commands = "management/commands"
    parts = ["admin.py", "reference", "signals.py", "reshard.py", f"{commands}/reshard.py"]
    project = project_without(tmp_path, *parts, f"{commands}/shard_status.py")
    assert "no issues" in project.manage("check")
    project.manage("makemigrations", "notes", "-v", "0")
    project.manage("migrate", "-v", "0")
    project.manage("migrate_shards")
    assert project.shell(SHARDED).splitlines() == ["shard0", "shard1", "2"]
    assert "No changes detected" in project.manage("makemigrations", "--check", "--dry-run")
