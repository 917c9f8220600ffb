"""The router, and the cases in Django that a router often gets wrong."""

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.cache.backends.db import DatabaseCache
from django.core.exceptions import ValidationError
from django.db import DatabaseError, router, transaction

from products.models import Product
from replicas import reading
from reviews.models import Review
from tests.engines import only_sqlite


@pytest.fixture
def scope(shop):
    with reading.scope() as scope:
        yield scope


def write_elsewhere(model, **fields):
    """Write in a scope of another user. The scope of the test need not see this write."""
    with reading.scope():
        return model.objects.create(**fields)


def test_reads_go_to_a_replica_and_writes_to_the_primary(scope):
    alias = router.db_for_read(Product)
    assert alias in ("replica1", "replica2")
    assert Product.objects.get()._state.db == alias
    assert router.db_for_write(Product) == "default"
    assert router.db_for_write(Product, instance=Product.objects.get()) == "default"


def test_the_choice_is_the_same_for_each_question_of_a_scope_and_not_for_each_scope(shop):
    choices = set()
    for _ in range(30):
        with reading.scope():
            choices.add(frozenset(router.db_for_read(model) for model in (Product, Review) * 5))
    assert choices == {frozenset(["replica1"]), frozenset(["replica2"])}


def test_a_replica_cannot_be_written_to(scope):
    with pytest.raises(DatabaseError, match="read.?only"):
        Product.objects.using("replica1").create(name="", description="", price=1)


def test_what_was_read_from_a_replica_is_saved_and_deleted_on_the_primary(scope):
    product = Product.objects.get()
    assert product._state.db != "default"
    product.name = "Punctual sundial"
    product.save()
    assert Product.objects.using("default").get().name == "Punctual sundial"
    stale = Product.objects.using("replica1").get()
    assert stale.delete()[0] == 1
    assert not Product.objects.using("default").exists()


def test_objects_from_different_databases_may_be_related(scope):
    product = Product.objects.using("replica1").get()
    author = User.objects.using("replica2").get()
    review = Review.objects.create(product=product, author=author, rating=5, text="Ticks.")
    group = Group.objects.create(name="clockmakers")
    author.groups.add(group)
    assert list(review.author.groups.all()) == [group]


def test_only_the_primary_is_migrated():
    assert router.allow_migrate("default", "products")
    assert not router.allow_migrate("replica1", "products")
    assert not router.allow_migrate("replica2", "next_year", model_name=None)


def test_a_transaction_reads_its_own_writes(scope):
    with transaction.atomic():
        Product.objects.create(name="Egg timer", description="", price=3)
        assert Product.objects.filter(name="Egg timer").exists()


def test_a_transaction_of_the_old_sort_does_so_too(scope):
    transaction.set_autocommit(False)
    try:
        assert router.db_for_read(Product) == "default"
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    with reading.scope(scope.positions()):
        assert router.db_for_read(Product) == "default"  # to read one state of the data


def test_refreshing_what_was_written_reads_it_from_where_it_was_written(shop):
    """This is true in other scopes too, because a replica may have an older row, or no row."""
    product = write_elsewhere(Product, name="Egg timer", description="", price=3)
    with reading.scope():
        product.refresh_from_db()
        assert product.name == "Egg timer"


def test_the_database_cache_is_read_from_the_database_that_the_settings_name(scope, settings):
    """``DatabaseCache`` asks with an object that lacks attributes of a model."""
    entry = DatabaseCache("cache", {}).cache_model_class
    assert router.db_for_read(entry) in ("replica1", "replica2")
    settings.REPLICA_PRIMARY_APPS = ["django_cache"]
    assert router.db_for_read(entry) == "default"


def test_refreshing_sees_what_the_scope_wrote_by_another_way(scope):
    product = Product.objects.get()
    assert product._state.db != "default"
    Product.objects.update(name="Punctual sundial")
    product.refresh_from_db()
    assert product.name == "Punctual sundial"


def test_what_belongs_to_an_object_from_the_primary_is_read_there(shop):
    """A deferred field or a related row may not be on a replica yet, and would raise an error."""
    group = write_elsewhere(Group, name="clockmakers")
    with reading.scope():
        group = Group.objects.using("default").only("pk").get(pk=group.pk)
        assert group.name == "clockmakers"


def test_validate_unique_finds_what_the_same_scope_wrote(scope):
    User.objects.create(username="harrison")
    with pytest.raises(ValidationError, match="already exists"):
        User(username="harrison", password="x").full_clean()


def test_validate_unique_of_what_others_wrote_needs_the_primary(shop):
    ContentType.objects.create(app_label="clocks", model="spring")  # outside any scope
    with reading.scope():
        ContentType(app_label="clocks", model="spring").full_clean()  # no replica has it yet
        with reading.use_primary(), pytest.raises(ValidationError, match="already exists"):
            ContentType(app_label="clocks", model="spring").full_clean()


class Staff(User):
    class Meta:
        proxy = True
        app_label = "staff"


def test_rights_are_never_read_from_a_replica(shop):
    """The user's row is read from the primary too. It has the password and ``is_active``."""
    user = write_elsewhere(User, username="harrison")
    with reading.scope():
        assert User.objects.get(username="harrison").is_active
        assert User.objects.get_by_natural_key("harrison")._state.db == "default"
        models = [User, Staff, Group, Permission, User.groups.through, Group.permissions.through]
        assert {router.db_for_read(model) for model in models} == {"default"}
        # The user is always read from the primary. The user's reviews need not be.
        assert router.db_for_read(Review, instance=user) != "default"


def test_which_apps_and_models_are_never_read_from_a_replica_is_a_setting(shop, settings):
    settings.REPLICA_PRIMARY_APPS = ["products", "auth.Group"]
    settings.REPLICA_UNNOTED_APPS = ["reviews"]
    with reading.scope() as scope:
        models = [Product, Group, Group.permissions.through, Review]
        assert {router.db_for_read(model) for model in models} == {"default"}
        assert not {router.db_for_read(model) for model in (User, Session)} & {"default"}
        review = Review.objects.create(product_id=1, author_id=1, rating=5, text="Ticks.")
        review.save()
        review.delete()
        assert not scope["default"].last_write
        SessionStore().create()
        assert scope["default"].last_write


def test_saving_a_session_is_no_write_that_anybody_waits_for(scope):
    session = SessionStore()
    session["cart"] = "sundial"
    session.create()
    session.save()
    session.flush()
    assert not scope["default"].last_write


def test_get_or_create_and_update_or_create_look_on_the_primary(shop):
    harrison = write_elsewhere(User, username="harrison")
    with reading.scope():
        assert User.objects.get_or_create(username="harrison") == (harrison, False)
        assert User.objects.update_or_create(username="harrison") == (harrison, False)


def test_select_for_update_is_on_the_primary(scope):
    with transaction.atomic():
        assert Product.objects.select_for_update().get()._state.db == "default"


def test_a_session_is_never_read_from_a_replica(shop):
    with reading.scope():
        session = SessionStore()
        session["cart"] = "sundial"
        session.create()
    with reading.scope():
        assert SessionStore(session.session_key)["cart"] == "sundial"
    shop.replicate()
    with reading.scope():
        SessionStore(session.session_key).flush()  # logged out
    with reading.scope():
        assert not SessionStore().exists(session.session_key)
        assert dict(SessionStore(session.session_key).items()) == {}


def test_bulk_create_goes_to_the_primary_and_is_seen(scope):
    Product.objects.bulk_create(Product(name="", description="", price=n) for n in range(3))
    assert Product.objects.count() == 4


@only_sqlite("on servers, the databases of the copy are no replicas, and accept writes")
def test_migrating_a_replica_is_refused(manage):
    assert manage("migrate").returncode == 0
    (manage.folder / "replica1.sqlite3").write_bytes(b"")
    process = manage("migrate", "--database=replica1")
    assert process.returncode == 1
    assert "readonly" in process.stderr


@pytest.mark.parametrize("command", [["check"], ["makemigrations", "--check"], ["migrate"]])
def test_commands_do_without_replicas(manage, command):
    process = manage(*command)
    assert (process.returncode, process.stderr) == (0, "")
    assert not list(manage.folder.glob("replica?.sqlite3"))
