"""What ``manage.py check`` says about a project that has forgotten a line, and of a right one."""

import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, models
from django.test.utils import isolate_apps

from conftest import ALIASES
from customers.models import Customer
from sharding import checks
from sharding.buckets import Bucket, MapIncomplete, MapVersion, read_map
from sharding.fields import KeyField
from sharding.models import Sharded, ShardedQuerySet
from sharding.routers import ShardRouter
from tests.engines import only_sqlite

pytestmark = pytest.mark.django_db(databases=ALIASES)


class FirstRouter:
    """Answers for all models, and first."""

    def db_for_write(self, model, **hints):
        return "default"


class MigratingRouter:
    """Has all tables made on all databases."""

    def allow_migrate(self, db, app_label, **hints):
        return True


def ours(**kwargs):
    """Return the messages of these apps, by their id; each has a hint."""
    messages = [m for m in run_checks(**kwargs) if m.id.startswith(("sharding.", "directory."))]
    assert all(message.hint for message in messages)
    return {message.id: message.msg for message in messages}


def of_the_map():
    return list(ours(databases=["default"]).values())


def test_all_is_well():
    assert ours(databases=ALIASES) == {}


def test_the_first_map_is_fair():
    assert {len(read_map().buckets(alias)) for alias in ALIASES[1:]} == {256}


def test_a_bucket_that_is_not_mapped():
    Bucket.objects.filter(number__in=[3, 1000]).delete()
    assert of_the_map() == ["The shard map lacks bucket 3, 1000."]
    with pytest.raises(MapIncomplete, match="has 1022 of 1024 buckets"):
        read_map()


def test_a_map_that_was_never_made():
    """Without shards, ``migrate`` makes no map. With the first shards, it must not be refused."""
    Bucket.objects.all().delete()
    MapVersion.objects.all().delete()
    assert ours(databases=["default"]) == {"sharding.W007": "There is no shard map yet."}


def test_a_bucket_too_many():
    Bucket.objects.create(number=1024, alias="shard0")
    assert of_the_map() == ["The shard map has bucket 1024, but the last is 1023."]


def test_an_alias_that_is_not_a_shard():
    Bucket.objects.filter(number__lt=7).update(alias="shard9")
    assert of_the_map() == [
        'The shard map has bucket 0, 1, 2, 3, 4, … on "shard9", which is not in SHARDS.'
    ]


def test_other_databases_have_no_map():
    Bucket.objects.all().delete()
    assert ours(databases=["shard0"]) == ours() == {}


@pytest.mark.parametrize(
    ("shards", "id", "message"),
    [
        (["shard0", "shard9"], "E001", 'SHARDS names "shard9", which is not in DATABASES.'),
        (["shard0", "shard0"], "E002", "SHARDS names a shard twice."),
        (
            ["default", "shard0"],
            "E003",
            'SHARDS names "default", which has the tables that are not sharded.',
        ),
    ],
)
def test_shards(settings, shards, id, message):
    settings.SHARDS = shards
    assert ours() == {f"sharding.{id}": message}


@pytest.mark.parametrize("name", ["SHARDS", "SHARDED_APPS"])
@pytest.mark.parametrize("value", [None, "customers", 5])
def test_without_these_nothing_starts(settings, name, value):
    setattr(settings, name, value)
    with pytest.raises(
        ImproperlyConfigured, match=f"The app sharding needs {name}. Write {name} ="
    ):
        apps.get_app_config("sharding").ready()


@pytest.mark.parametrize("name", ["KEY_WORKERS", "KEY_WORKERS_DIR"])
def test_a_setting_that_is_not_there(settings, name):
    delattr(settings, name)
    (message,) = ours().values()
    assert message.startswith(f"{name} ") and message.endswith(" None.")


def test_an_app_that_is_not_installed(settings):
    settings.SHARDED_APPS = {"customers", "visits"}
    assert ours() == {
        "sharding.E008": 'SHARDED_APPS names "visits", but no installed app has this label.'
    }


def test_an_app_that_is_not_named(settings):
    """Its models are then made in ``default``, and looked for on the shards."""
    settings.SHARDED_APPS = {"products"}
    assert ours()["sharding.E013"] == (
        "customers.Order has a KeyField, but its app is not in SHARDED_APPS."
    )


def test_the_fences_may_be_named(settings):
    settings.SHARDED_APPS = {"customers", "fences"}
    assert ours() == {}


def test_without_the_fences(settings):
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "sharding.fences"]
    assert ours() == {
        "sharding.E010": "The app sharding.fences is not installed, so no shard accepts writes."
    }


def test_without_the_app():
    """Its checks are not run then; the field's own is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apps, "is_installed", lambda name: name != "sharding")
        (message,) = Customer._meta.pk.check()
    assert message.id == "sharding.E018" and "INSTALLED_APPS" in message.hint


@pytest.mark.parametrize(
    "routers",
    [
        [],
        ["test_checks.FirstRouter", "sharding.routers.ShardRouter"],
        ["test_checks.MigratingRouter", "sharding.routers.ShardRouter"],
    ],
)
def test_no_router_and_one_after_another_that_answers(settings, routers):
    settings.DATABASE_ROUTERS = routers
    assert list(ours()) == ["sharding.E009"]


def test_a_router_after_one_that_does_not_answer(settings):
    class Silent:
        def db_for_write(self, model, **hints):
            return None

    settings.DATABASE_ROUTERS = [Silent(), ShardRouter()]
    assert ours() == {}


def test_a_router_of_ones_own(settings):
    class Own(ShardRouter):
        pass

    settings.DATABASE_ROUTERS = [Own()]
    assert ours() == {}


class Plain(models.Model):
    class Meta:
        abstract = True

    def __str__(self):
        return "plain"


@pytest.fixture
def of_models(monkeypatch):
    """Return what the checks of models say about these, as if the app customers had no others."""

    def say(*found):
        monkeypatch.setattr(checks.apps, "get_models", lambda: found)
        messages = [*checks.check_models(), *checks.check_keys()]
        assert all(message.hint for message in messages)
        return [(message.id, message.msg) for message in messages]

    return say


@isolate_apps("customers")
def test_models_as_they_are_to_be(of_models):
    class Member(Sharded):
        id = KeyField()

        class Meta:
            app_label = "customers"

    class Friendship(Sharded):
        id = KeyField(of="one")
        one = models.ForeignKey(Member, models.CASCADE, related_name="+")
        other = models.BigIntegerField()

        class Meta:
            app_label = "customers"

    class Nickname(Member):
        class Meta:
            app_label = "customers"
            proxy = True

    assert of_models(Member, Friendship, Nickname) == []


@isolate_apps("customers")
def test_plain_models(of_models):
    class Visit(Plain):
        class Meta:
            app_label = "customers"

    class Keyed(Plain):
        id = KeyField()

        class Meta:
            app_label = "customers"

    class Keyless(Sharded):
        class Meta:
            app_label = "customers"

    class Elsewhere(Plain):
        class Meta:
            app_label = "products"

    found = of_models(Visit, Keyed, Keyless, Elsewhere)
    assert [(id, message.split()[0]) for id, message in found] == [
        ("sharding.E011", "customers.Visit"),
        ("sharding.E011", "customers.Keyed"),
        ("sharding.E011", "customers.Keyless"),
    ]


@isolate_apps("customers")
def test_a_table_that_django_makes(of_models):
    class Member(Sharded):
        id = KeyField()
        friends = models.ManyToManyField("self")

        class Meta:
            app_label = "customers"

    ((id, message),) = of_models(Member)
    assert id == "sharding.E012" and message.startswith("customers.Member.friends has no through=")


@isolate_apps("customers")
def test_what_no_shard_can_keep_unique(of_models):
    class Member(Sharded):
        id = KeyField()
        email = models.EmailField(unique=True)
        name = models.CharField(max_length=9)
        town = models.CharField(max_length=9)

        class Meta:
            app_label = "customers"
            unique_together = [("name", "town")]
            constraints = [
                models.UniqueConstraint(fields=["name"], condition=models.Q(town="x"), name="a"),
                models.UniqueConstraint(models.functions.Lower("town"), name="b"),
                models.UniqueConstraint(fields=["id", "name"], name="c"),
            ]

    class Ticket(Sharded):
        id = KeyField(of="member")
        member = models.OneToOneField(Member, models.CASCADE, related_name="+")
        number = models.IntegerField()
        slug = models.SlugField(unique=True)

        class Meta:
            app_label = "customers"
            constraints = [
                models.UniqueConstraint(fields=["member", "number"], name="d"),
                models.UniqueConstraint(models.F("number").desc(), "member", name="e"),
            ]

    class Nickname(Member):
        class Meta:
            app_label = "customers"
            proxy = True

    found = of_models(Member, Ticket, Nickname)
    assert {id for id, _ in found} == {"sharding.E019"}
    assert [message.split(", but ")[0] for _, message in found] == [
        "customers.Member requires email to be unique",
        "customers.Member requires name and town to be unique",
        "customers.Member requires name to be unique",
        "customers.Member requires Lower(F(town)) to be unique",
        "customers.Ticket requires slug to be unique",
    ]


@isolate_apps("customers")
def test_a_manager_that_knows_nothing_of_shards(of_models):
    class Member(Sharded):
        id = KeyField()
        plain = models.Manager()

        class Meta:
            app_label = "customers"

    class Other(Sharded):
        id = KeyField()
        mine = type("Mine", (ShardedQuerySet,), {}).as_manager()

        class Meta:
            app_label = "customers"

    ((id, message),) = of_models(Member, Other)
    assert id == "sharding.E020" and message.startswith("customers.Member has a manager")


@isolate_apps("customers")
@pytest.mark.parametrize("of", ["nothing", "number", "product"])
def test_a_key_of_what_is_no_sharded_row(of_models, of):
    class Product(Plain):
        class Meta:
            app_label = "products"

    class Note(Sharded):
        id = KeyField(of=of)
        number = models.BigIntegerField()
        product = models.ForeignKey(Product, models.CASCADE)

        class Meta:
            app_label = "customers"

    assert of_models(Note) == [
        (
            "sharding.E014",
            f'customers.Note.id has of="{of}", which is not a foreign key to a sharded model.',
        )
    ]


@pytest.mark.parametrize("numbers", [range(256, 300), range(-1, 5), [], None, ["1"], 5])
def test_workers(settings, numbers):
    settings.KEY_WORKERS = numbers
    assert ours() == {
        "sharding.E015": f"KEY_WORKERS must be numbers from 0 to 255, not {numbers!r}."
    }


@pytest.mark.parametrize("folder", [None, "", 5])
def test_the_folder_of_the_workers(settings, folder):
    settings.KEY_WORKERS_DIR = folder
    assert ours() == {
        "sharding.E016": f"KEY_WORKERS_DIR must be the path of a folder, not {folder!r}."
    }


@only_sqlite("on the other engines each transaction waits")
@pytest.mark.parametrize("alias", ["default", "shard1"])
def test_a_transaction_that_would_not_wait(monkeypatch, alias):
    options = connections[alias].settings_dict["OPTIONS"]
    monkeypatch.delitem(options, "transaction_mode")
    assert ours() == {
        "sharding.W017": f'A transaction on "{alias}" that reads and then writes fails if another '
        "transaction has written in between."
    }


@pytest.mark.parametrize(
    "owner", [None, "", "customers", "customers.Nobody", "auth.User", "customers.Order", 5]
)
def test_the_owner_of_addresses(settings, owner):
    settings.DIRECTORY_OWNER = owner
    assert ours() == {
        "directory.E001": f'DIRECTORY_OWNER must name a sharded model with a field "email", '
        f"not {owner!r}."
    }
