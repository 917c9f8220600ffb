"""The app ``sharding``, alone and with ``directory``, installed by their docstrings alone."""

import pytest
from bare import BareProject

MODELS = "from django.db import models\n"
FILL = """
    from notes.models import Author, Note
    from sharding.keys import new_key

    for number in range(40):
        author = Author.objects.create(name=f"author {number}")
        author.notes.create(text="wind the clock")
    Author.objects.create(pk=new_key(7), name="seven").notes.create(text="wind the clock")
"""
# Whether each shard has rows, and only its own rows; then what a reader finds.
LOOK = """
    from django.conf import settings

    from notes.models import Author, Note
    from sharding import gather

    for alias in settings.SHARDS:
        for model in (Author, Note):
            rows = list(model.objects.using(alias).all())
            print(alias, len(rows) > 0, {row.shard for row in rows} <= {alias})
    authors = gather.top(Author.objects.order_by("name"))
    found = [Author.objects.get(pk=author.pk).notes.get().text for author in authors]
    print(gather.count(Author.objects.all()), len(found), set(found), authors[-1].shard)
"""
CLAIM = """
    from directory import claims
    from notes.models import Member
    from sharding import gather
    from sharding.keys import new_key

    claims.save(Member(pk=new_key(0), email="Ada@clocks.example"))
    try:
        claims.save(Member(pk=new_key(1023), email="ada@clocks.example"))
    except claims.EmailTaken as error:
        print(error)
    print(claims.find("ada@clocks.example").shard, gather.count(Member.objects.all()))
    Member.objects.create(pk=new_key(1023), email="eunice@clocks.example")
"""
STAMP = """
    from notes.models import Author, Stamp
    from regions.models import Zone
    from sharding.keys import new_key

    zone = Zone.objects.create(name="islands")
    for bucket in (0, 1023):
        author = Author.objects.create(pk=new_key(bucket), name="Ada")
        Stamp.objects.create(author=author, zone=zone)
        found = Stamp.objects.select_related("zone").get(author=author)
        print(found.zone._state.db, found.zone.name)
"""
# Each line of the docstring, and the message when the line is missing.
LINES = {
    'SHARDS = ["shard0", "shard1"]': "name 'SHARDS' is not defined",
    """DATABASES |= {
    alias: DATABASES["default"] | {"NAME": BASE_DIR / f"{alias}.sqlite3"} for alias in SHARDS
}""": "sharding.E001",
    'DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE"}': "sharding.W017",
    'SHARDED_APPS = {"notes"}': "The app sharding needs SHARDED_APPS. Write SHARDED_APPS = ",
    'INSTALLED_APPS += ["sharding", "sharding.fences"]': "sharding.E018",
    ', "sharding.fences"': "sharding.E010",
    'DATABASE_ROUTERS = ["sharding.routers.ShardRouter"]': "sharding.E009",
    "KEY_WORKERS = range(64)": "sharding.E015",
    'KEY_WORKERS_DIR = BASE_DIR / ".workers"': "sharding.E016",
}
MODEL_LINES = {
    "class Note(Sharded)": ("class Note(models.Model)", "sharding.E011"),
    "    id = KeyField()\n": ("", "sharding.E011"),
    'KeyField(of="author")': ('KeyField(of="writer")', "sharding.E014"),
    "    text = models.TextField()": (
        "    readers = models.ManyToManyField(Author)",
        "sharding.E012",
    ),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = BareProject(tmp_path_factory.mktemp("bare") / "project", MODELS)
    project.take("sharding", "sharding")
    project.follow("sharding")
    return project


def migrate(project):
    assert "no issues" in project.manage("check")
    project.manage("makemigrations", "notes", "-v", "0")
    project.manage("migrate", "-v", "0")
    project.manage("migrate_shards")
    assert "no issues" in project.manage("check", "--database", "default", "--database", "shard1")


def test_the_docstring_is_enough(project):
    migrate(project)
    project.shell(FILL)
    where = ["shard0 True True"] * 2 + ["shard1 True True"] * 2
    assert project.shell(LOOK).splitlines() == [*where, "41 41 {'wind the clock'} shard0"]
    assert "Buckets moved to shard1: 1, with" in project.manage(
        "reshard", "--to", "shard1", "--buckets", "7"
    )
    assert project.shell(LOOK).splitlines() == [*where, "41 41 {'wind the clock'} shard1"]
    assert "No changes detected" in project.manage("makemigrations", "--check", "--dry-run")


def test_with_a_directory(tmp_path):
    project = BareProject(tmp_path / "project", MODELS)
    project.take("sharding", "sharding", "directory")
    project.follow("sharding")
    project.follow("directory")
    migrate(project)
    assert project.shell(CLAIM).splitlines() == [
        "ada@clocks.example belongs to another member.",
        "shard0 1",
    ]
    assert (
        "Addresses released, because no member has them: 0. Addresses claimed for members: 1."
        in project.manage("reconcile")
    )
    assert "No changes detected" in project.manage("makemigrations", "--check", "--dry-run")
    project.replace("site_/settings.py", 'DIRECTORY_OWNER = "notes.Member"', "")
    assert "directory.E001" in project.manage("check", status=1)
    project.replace("site_/settings.py", 'INSTALLED_APPS += ["directory"]', "")
    said = project.manage("shell", "-c", "from directory import claims", status=1)
    assert "isn't in an application in INSTALLED_APPS" in said


def test_with_a_reference_table(tmp_path):
    project = BareProject(tmp_path / "project", MODELS)
    project.take("sharding", "sharding")
    project.follow("sharding")
    project.django("startapp", "regions")
    project.follow("sharding/reference", models="regions/models.py")
    project.append(
        "notes/models.py",
        "class Stamp(Sharded):\n"
        '    id = KeyField(of="author")\n'
        "    author = models.ForeignKey(Author, models.CASCADE)\n"
        '    zone = models.ForeignKey("regions.Zone", models.DO_NOTHING, related_name="+")\n',
    )
    project.manage("makemigrations", "regions", "-v", "0")
    migrate(project)
    assert project.shell(STAMP).splitlines() == ["shard0 islands", "shard1 islands"]
    assert "No changes detected" in project.manage("makemigrations", "--check", "--dry-run")


@pytest.mark.parametrize(("line", "said"), LINES.items())
def test_a_line_that_is_left_out_is_said(project, line, said):
    settings = (project.folder / "site_/settings.py").read_text()
    project.replace("site_/settings.py", line, "")
    try:
        assert said in project.manage("check", "--fail-level", "WARNING", status=1)
    finally:
        project.write("site_/settings.py", settings)


@pytest.mark.parametrize(("line", "instead", "said"), [(k, *v) for k, v in MODEL_LINES.items()])
def test_a_model_that_is_another_is_said(project, line, instead, said):
    models = (project.folder / "notes/models.py").read_text()
    project.replace("notes/models.py", line, instead)
    try:
        assert said in project.manage("check", status=1)
    finally:
        project.write("notes/models.py", models)
