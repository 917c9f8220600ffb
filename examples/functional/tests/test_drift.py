"""``manage.py drift``, in copies of the project whose databases are changed."""

import json

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections, transaction

from multidb_checks.catalogue import read_only, tables_of
from reviews.models import Review
from tests.engines import lose, only_sqlite

#: Settings of a trial: the databases of the test run, and an app whose tables are in "reviews".
TRIAL = f"""
from shop.routers import FunctionalRouter
from {settings.SETTINGS_MODULE} import *

class Router(FunctionalRouter):
    databases = {{"reviews": "reviews", "trial": "reviews"}}

DATABASE_ROUTERS = ["shop.trial.Router"]
"""


@pytest.fixture
def project(manage):
    """A copy of the project, with the tables of reviews. ``shop.trial`` can change its settings."""
    return Project(manage)


class Project:
    def __init__(self, manage):
        self.manage, self.folder = manage, manage.folder
        self.settings("")
        self.run("migrate", "-v0", "--database=reviews", "reviews")

    def settings(self, text):
        self.write("shop/trial.py", TRIAL + text)

    def write(self, path, text):
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)

    def app(self, models, **migrations):
        """Write the app ``trial``, and add it to the settings."""
        self.write("trial/__init__.py", "")
        self.write("trial/models.py", f"from django.db import models\n\n{models}")
        if migrations:
            self.write("trial/migrations/__init__.py", "")
        for name, text in migrations.items():
            self.write(
                f"trial/migrations/m{name}.py",
                "from django.db import migrations, models\n\n"
                f"class Migration(migrations.Migration):\n{text}",
            )
        self.settings('INSTALLED_APPS = [*INSTALLED_APPS, "trial"]\n')

    def run(self, *arguments, status=0):
        process = self.manage(*arguments, "--settings=shop.trial")
        assert process.returncode == status, process.stdout + process.stderr
        return process

    def sql(self, *statements):
        """Execute SQL in "reviews"."""
        script = "from django.db import connections\n" + "".join(
            f"connections['reviews'].cursor().execute({sql!r})\n" for sql in statements
        )
        self.run("shell", "-v0", "-c", script)

    def record(self, *pairs):
        script = "from django.db.migrations.recorder import MigrationRecorder as Recorder\n"
        script += "from django.db import connections\n"
        script += "".join(
            f"Recorder(connections['reviews']).record_applied({app!r}, {name!r})\n"
            for app, name in pairs
        )
        self.run("shell", "-v0", "-c", script)

    def drift(self, *arguments, status=1):
        """Return the lines about "reviews", or about the databases in the arguments."""
        process = self.run("drift", *(arguments or ["--database=reviews"]), status=status)
        lines = process.stdout.splitlines()
        if status:
            count = sum("differs" not in line and "compared" not in line for line in lines)
            said = "1 difference." if count == 1 else f"{count} differences."
            assert process.stderr == f"CommandError: {said}\n"
        else:
            assert process.stderr == ""
        return lines


def test_a_good_project(project):
    project.run("migrate", "-v0")
    assert project.drift("--database=default", "--database=reviews", status=0) == [
        "default: 10 tables, nothing differs.",
        "reviews: 1 table, nothing differs.",
    ]


@only_sqlite("a server has no file")
def test_a_missing_file_is_not_made(manage):
    process = manage("drift")
    assert process.returncode == 1
    assert process.stdout.splitlines() == [
        f"default: There is no file {manage.folder}/default.sqlite3. Run: python manage.py migrate",
        f"reviews: There is no file {manage.folder}/reviews.sqlite3. "
        "Run: python manage.py migrate --database=reviews reviews",
    ]
    assert list(manage.folder.glob("*.sqlite3")) == []
    uri = "NAME = f'file:{BASE_DIR}/a%20file.sqlite3?mode=rwc'\nDATABASES['reviews']['NAME'] = NAME"
    (manage.folder / "shop/uri.py").write_text(f"from shop.settings import *\n{uri}")
    process = manage("drift", "--settings=shop.uri", "--database=reviews")
    assert f"There is no file {manage.folder}/a file.sqlite3." in process.stdout
    assert list(manage.folder.glob("*.sqlite3")) == []


def test_migrations_that_are_not_applied(project):
    project.write(
        "reviews/migrations/0002_later.py",
        "from django.db import migrations\n\nclass Migration(migrations.Migration):\n"
        "    dependencies = [('reviews', '0001_initial')]\n",
    )
    assert project.drift() == [
        'reviews: 0002_later of the app "reviews" is not applied. '
        "Run: python manage.py migrate --database=reviews reviews"
    ]


def test_records_without_tables(project):
    """Trap: the migrations were recorded while the router did not allow the tables."""
    project.run("migrate", "-v0", "--database=reviews")
    assert project.drift(status=0) == ["reviews: 1 table, nothing differs."]
    project.settings("Router.databases = Router.databases | {'sessions': 'reviews'}\n")
    assert project.run("migrate", "--check", "--database=reviews")
    (line,) = project.drift()
    message, hint = line.split(" Run: ")
    assert message == (
        "reviews: Table django_session does not exist, but django_migrations records the "
        'migrations of "sessions".'
    )
    for command in hint.split(" && "):
        project.run(*command.split()[2:])
    assert project.drift(status=0) == ["reviews: 2 tables, nothing differs."]


def test_records_without_tables_on_which_others_depend(project):
    project.run("migrate", "-v0", "--database=reviews")
    project.settings("Router.databases = Router.databases | {'contenttypes': 'reviews'}\n")
    (line,) = project.drift()
    assert "zero" not in line and "python manage.py sqlmigrate --database=reviews" in line


def test_the_tables_of_other_apps(project):
    """Trap: a router returned None for other apps, and their tables were created here too."""
    project.settings(
        "Router.allow_migrate = lambda self, db, app_label, **hints: (\n"
        "    db == 'reviews' if app_label == 'reviews' else None)\n"
    )
    project.run("migrate", "-v0", "--database=reviews")
    assert project.drift(status=0)[0].endswith("nothing differs.")
    project.settings("")
    lines = project.drift()
    assert len(lines) == 5
    assert lines[1] == (
        "reviews: Tables auth_permission, auth_group, auth_group_permissions and 3 more of the app "
        '"auth" exist, but the routers do not allow it here. If their rows are used, correct '
        "allow_migrate(). Otherwise make a backup, and drop them."
    )


def test_records_that_the_code_does_not_know(project):
    project.record(("reviews", "0099_newer"), ("gone", "0001_initial"), ("gone", "0002_more"))
    gone, reviews = project.drift()
    assert gone.startswith(
        'reviews: django_migrations records 0001_initial and 0002_more of the app "gone", but the '
        "code has no such migration."
    )
    assert gone.endswith("DELETE FROM django_migrations WHERE app = 'gone'")
    command = "python manage.py migrate --database=reviews reviews --prune"
    assert reviews.endswith(f" Or remove the record: {command}")
    project.run(*command.split()[2:])
    project.sql(gone.rpartition(": ")[2])
    assert project.drift(status=0)


def test_records_in_a_wrong_order(project):
    project.run("migrate", "-v0", "--database=reviews")
    project.sql("DELETE FROM django_migrations WHERE app = 'contenttypes'")
    (line,) = project.drift()
    assert line.startswith("reviews: Migration ") and "is applied before its dependency" in line


def test_columns(project):
    project.sql("ALTER TABLE reviews_review ADD COLUMN mood varchar(9)")
    models = (project.folder / "reviews/models.py").read_text()
    project.write(
        "reviews/models.py",
        models.replace("    rating =", "    place = models.TextField(null=True)\n    rating ="),
    )
    lacks, has = project.drift()
    assert lacks.startswith("reviews: Table reviews_review lacks place of reviews.Review. Run: ")
    assert has.startswith(
        "reviews: Table reviews_review has mood, which reviews.Review does not have. "
    )


MODELS = """
class Base(models.Model):
    name = models.TextField()

    class Meta:
        abstract = True


class Thing(Base):
    others = models.ManyToManyField("self")


class Heavy(Thing):
    weight = models.IntegerField(db_column="Weight in kg")


class Proxy(Thing):
    class Meta:
        proxy = True


class Theirs(models.Model):
    class Meta:
        managed = False
        db_table = "not_there"


class Same(models.Model):
    class Meta:
        managed = False
        db_table = "auth_group"


class Swappable(models.Model):
    class Meta:
        swappable = "TRIAL_MODEL"


class OfAnotherVendor(models.Model):
    class Meta:
        required_db_vendor = "oracle"
"""
THING = """
    initial = True
    operations = [
        migrations.CreateModel("Thing", [
            ("id", models.BigAutoField(primary_key=True)),
            ("name", models.TextField()),
            ("others", models.ManyToManyField("self")),
        ]),
        migrations.CreateModel("Heavy", [
            ("thing_ptr", models.OneToOneField("Thing", models.CASCADE, parent_link=True,
                                               primary_key=True)),
            ("weight", models.IntegerField(db_column="Weight in kg")),
        ], bases=["trial.thing"]),
    ]
"""


@pytest.fixture
def things(project):
    """A project with models of each kind, and their tables."""
    project.app(MODELS, a=THING)
    with (project.folder / "shop/trial.py").open("a") as file:
        file.write('TRIAL_MODEL = "trial.Thing"\n')
    project.run("migrate", "-v0", "--database=reviews", "trial")
    return project


def test_models_of_each_kind(things):
    assert things.drift(status=0) == ["reviews: 4 tables, nothing differs."]


def test_the_table_of_a_many_to_many_field_is_missing(things):
    things.sql("DROP TABLE trial_thing_others")
    (line,) = things.drift()
    assert (
        line.startswith("reviews: Table trial_thing_others does not exist") and "zero" not in line
    )


def test_a_table_that_an_unmanaged_model_uses_too(things):
    things.sql("CREATE TABLE auth_group (id integer)", "CREATE TABLE auth_user (id integer)")
    (line,) = things.drift()
    assert line.startswith('reviews: Table auth_user of the app "auth" exists')


def test_a_table_that_a_model_of_another_database_names_too(project):
    table = "    class Meta:\n        db_table = 'reviews_review'\n"
    project.app(f"class Old(models.Model):\n{table}")
    with (project.folder / "shop/trial.py").open("a") as file:
        file.write("Router.databases = {'reviews': 'reviews'}\n")
    assert project.drift(status=0) == ["reviews: 1 table, nothing differs."]


def test_views(things):
    """A view in place of a table is a table, and a view of another app is nobody's mistake."""
    things.sql(
        "DROP TABLE trial_heavy",
        "CREATE VIEW trial_heavy AS SELECT id AS thing_ptr_id FROM trial_thing",
        "CREATE VIEW auth_user AS SELECT id FROM trial_thing",
    )
    assert things.drift(status=0) == ["reviews: 4 tables, nothing differs."]


@only_sqlite("other engines have no virtual tables")
def test_a_virtual_table(things):
    """Its columns are those of its module, for example of the full-text search."""
    things.sql("DROP TABLE trial_heavy", "CREATE VIRTUAL TABLE trial_heavy USING fts5(words)")
    assert things.drift(status=0) == ["reviews: 4 tables, nothing differs."]


def test_squashed_migrations(things):
    """The records of the replaced migrations stay, although their files are gone."""
    later = "    dependencies = [('trial', 'ma')]\n"
    things.app(MODELS, a=THING, b=later)
    with (things.folder / "shop/trial.py").open("a") as file:
        file.write('TRIAL_MODEL = "trial.Thing"\n')
    things.run("migrate", "-v0", "--database=reviews", "trial")
    squashed = THING.replace("initial = True", "replaces = [('trial', 'ma'), ('trial', 'mb')]")
    things.write(
        "trial/migrations/c.py",
        "from django.db import migrations, models\n\n"
        f"class Migration(migrations.Migration):\n{squashed}",
    )
    assert things.drift(status=0)  # with the files
    for name in "ma", "mb":
        (things.folder / f"trial/migrations/{name}.py").unlink()
    assert things.drift(status=0)  # and without them


def test_an_app_without_migrations(project):
    project.app("class Thing(models.Model):\n    name = models.TextField()\n")
    (line,) = project.drift()
    assert line == (
        'reviews: Table trial_thing does not exist. The app "trial" has no migrations. '
        "Run: python manage.py migrate --database=reviews --run-syncdb"
    )
    project.run("migrate", "-v0", "--database=reviews", "--run-syncdb")
    assert project.drift(status=0) == ["reviews: 2 tables, nothing differs."]


def test_a_database_in_which_nothing_is_migrated(project):
    project.settings("Router.databases = {}\n")
    assert project.drift(status=0) == [
        "reviews: The routers allow no table in it, so it is not compared."
    ]


def test_an_empty_entry(project):
    project.settings("DATABASES = {'default': {}, 'reviews': DATABASES['reviews']}\n")
    assert project.drift("--format=text", status=0) == [
        "default: The entry is empty, so there is no database.",
        "reviews: 1 table, nothing differs.",
    ]


def test_a_replica(project):
    project.settings("DATABASES['copy'] = DATABASES['reviews'] | {'TEST': {'MIRROR': 'reviews'}}\n")
    assert project.drift("--database=copy", status=0) == ["copy: 1 table, nothing differs."]
    project.sql("DROP TABLE reviews_review")
    (line,) = project.drift("--database=copy")
    assert line.endswith(
        '"copy" is a replica of "reviews". If drift reports nothing for "reviews", look at the '
        "replication."
    )


def test_a_database_that_does_not_answer(project):
    project.run("migrate", "-v0")
    if connections["reviews"].vendor == "sqlite":
        (project.folder / "reviews.sqlite3").unlink()
    _, error = lose("reviews", project.folder)
    first, second = project.drift("--format=text")
    assert first == "default: 10 tables, nothing differs."
    assert second.startswith("reviews: The database does not answer: ") and error in second


def test_json(project):
    project.sql("DROP TABLE reviews_review")
    process = project.run("drift", "--database=reviews", "--format=json", status=1)
    (report,) = json.loads(process.stdout)
    (difference,) = report.pop("differences")
    assert report == {
        "alias": "reviews",
        "note": "",
        "recorded": ["reviews.0001_initial"],
        "allowed": ["reviews.Review"],
        "tables": [],
    }
    assert difference["kind"] == "missing-table"
    assert set(difference) == {"kind", "message", "hint"}


def test_an_unknown_alias():
    with pytest.raises(CommandError, match="invalid choice: 'ratings'"):
        call_command("drift", "--database=ratings")


@only_sqlite("the files are compared")
def test_nothing_is_written(project):
    project.run("migrate", "-v0")
    files = sorted(project.folder.glob("*.sqlite3*"))
    before = [(file.read_bytes(), file.stat().st_mtime_ns) for file in files]
    project.drift("--format=text", status=0)
    assert sorted(project.folder.glob("*.sqlite3*")) == files
    assert [(file.read_bytes(), file.stat().st_mtime_ns) for file in files] == before


def write():
    return Review.objects.create(product_id=1, author_id=1, rating=5, text="Ticks.")


@pytest.mark.django_db(databases=["default", "reviews"], transaction=True)
def test_the_database_refuses_writes_while_it_is_compared():
    connection = connections["reviews"]
    with read_only(connection):
        assert "reviews_review" in tables_of(connection)
        with pytest.raises(DatabaseError), transaction.atomic(using="reviews"):
            write()
    write()
    assert Review.objects.count() == 1


@pytest.mark.django_db(databases=["default", "reviews"])
def test_a_transaction_around_it_can_write_again():
    with transaction.atomic(using="reviews"):
        write()
        with read_only(connections["reviews"]):
            assert Review.objects.count() == 1
        write()
    assert Review.objects.count() == 2


@pytest.mark.django_db(databases=["default", "reviews"])
@pytest.mark.parametrize("alias", ["default", "reviews"])
def test_the_columns_are_those_that_django_finds(alias, monkeypatch):
    """Also without our query, as on other engines."""
    connection = connections[alias]
    ours = tables_of(connection)
    monkeypatch.setattr("multidb_checks.catalogue.QUERIES", {})
    theirs = tables_of(connection)
    ours.pop("sqlite_sequence", None)  # SQLite's own
    assert ours == theirs and len(ours) > 1
