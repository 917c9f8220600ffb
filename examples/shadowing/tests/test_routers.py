import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.cache.backends.db import DatabaseCache
from django.db.utils import ConnectionRouter
from django.test.utils import isolate_apps

from customers.models import Customer, Order
from listings.models import Listing
from overlay.routers import NotLocal, ShadowRouter
from products.models import Category, Product
from reviews.models import Review
from shop.routers import VendorRouter
from vendor.models import Article, Group

ALIASES = ["default", "production", "vendor"]
LOCAL = [User, Session, Review, Category, Product, Listing]


class NaiveRouter:
    """What looks right: local models are named, and of the rest Django decides."""

    def db_for_read(self, model, **hints):
        return "default" if model in LOCAL else "production"

    db_for_write = db_for_read


@pytest.fixture
def router():
    return ConnectionRouter([VendorRouter(), ShadowRouter()])


@pytest.fixture(
    params=[
        [VendorRouter, ShadowRouter],
        pytest.param(
            [NaiveRouter], marks=pytest.mark.xfail(strict=True, raises=(AssertionError, ValueError))
        ),
    ],
    ids=["ours", "naive"],
)
def either(request):
    return ConnectionRouter([router() for router in request.param])


@pytest.mark.parametrize("model", LOCAL)
def test_what_is_shadowed_or_overlaid_is_local(router, model):
    assert router.db_for_read(model) == router.db_for_write(model) == "default"


@pytest.mark.parametrize("model", [Customer, Order])
def test_all_else_is_read_from_the_snapshot_and_not_written(router, model):
    assert router.db_for_read(model) == "production"
    with pytest.raises(NotLocal) as raised:
        router.db_for_write(model)
    assert str(raised.value) == (
        f"{model._meta.label} is read from the snapshot, so it can't be written. To write it, name "
        "it in the setting SHADOWED (its whole table becomes local) or OVERLAID (only the rows "
        "that you change become local)."
    )


class StandIn:
    """As ``DatabaseCache`` asks with, and with no attribute more than a router may ask for."""

    class _meta:
        app_label, model_name = "django_cache", "cacheentry"


@pytest.mark.parametrize("model", [StandIn, DatabaseCache("table", {}).cache_model_class])
def test_a_stand_in_for_a_model(router, settings, model):
    assert router.db_for_read(model) == "production"
    with pytest.raises(NotLocal, match=r"^django_cache\.cacheentry is read from the snapshot"):
        router.db_for_write(model)
    settings.SHADOWED = ["django_cache"]
    assert router.db_for_read(model) == router.db_for_write(model) == "default"


@isolate_apps("reviews")
@pytest.mark.parametrize(
    ("model", "alias"), [(Review, "default"), (Product, "default"), (Customer, "production")]
)
def test_a_proxy_is_where_its_model_is(router, model, alias):
    """Also one that another app has made, as of a model of Django's own."""

    class Proxy(model):
        class Meta:
            proxy = True
            app_label = "reviews"

    class ProxyOfProxy(Proxy):
        class Meta:
            proxy = True
            app_label = "elsewhere"

    for proxy in Proxy, ProxyOfProxy:
        assert router.db_for_read(proxy) == alias
        if alias == "default":
            assert router.db_for_write(proxy) == alias
            continue
        with pytest.raises(NotLocal, match=r"^customers\.Customer is read from the snapshot"):
            router.db_for_write(proxy)


@pytest.mark.parametrize("model", [Article, Group])
def test_what_is_the_vendors(router, model):
    assert router.db_for_read(model) == router.db_for_write(model) == "vendor"


@pytest.mark.parametrize("name", ["customers", "customers.Customer", "Customers.customer"])
def test_a_setting_names_a_model_or_an_app(router, settings, name):
    settings.SHADOWED = [name]
    assert router.db_for_write(Customer) == "default"
    with pytest.raises(NotLocal):
        router.db_for_write(User)


def test_a_model_named_is_that_one_alone(router, settings):
    settings.OVERLAID = ["customers.Customer"]
    assert router.db_for_write(Customer) == "default"
    assert router.db_for_read(Order) == "production"


def test_a_row_of_the_snapshot_is_written_to_the_local_database(router):
    """Where an instance was read says nothing about where its changed copy belongs."""
    product = Product()
    product._state.db = "production"
    assert router.db_for_write(Product, instance=product) == "default"
    assert router.db_for_read(Review, instance=product) == "default"


def test_a_relation_between_local_and_snapshot_is_allowed(either):
    """Django itself allows none between objects that were read from two databases."""
    review, customer = Review(), Customer()
    review._state.db, customer._state.db = "default", "production"
    assert either.allow_relation(review, customer)


def test_a_relation_to_the_vendors_is_not(either):
    assert either.allow_relation(Listing(), Article()) is False
    assert either.allow_relation(Article(), Group()) in (True, None)


@pytest.mark.parametrize("app", ["products", "reviews", "customers", "vendor", "auth", "next_year"])
def test_nothing_migrates_the_snapshot_or_the_vendors(either, app):
    assert either.allow_migrate("production", app) is False
    assert either.allow_migrate("vendor", app) is False


def test_the_local_database_gets_the_tables_of_what_is_shadowed(either):
    tables = [model for model in LOCAL + [Customer, Order, Article, Group]]
    overlaid = [] if settings.OVERLAID else [Category, Product, Listing]  # or shadowed, elsewhere
    assert [m for m in tables if either.allow_migrate_model("default", m)] == [
        User,
        Session,
        Review,
        *overlaid,
    ]


def test_a_data_migration_runs_where_a_model_of_its_app_is_shadowed(router):
    """Django asks about RunPython without a model."""
    assert router.allow_migrate("default", "reviews", hint=1)
    assert not router.allow_migrate("default", "customers")


def test_in_production_the_vendors_is_the_only_question():
    live = ConnectionRouter([VendorRouter()])
    assert live.db_for_write(Article) == "vendor"
    assert live.db_for_read(Customer) == live.db_for_write(Product) == "default"
    assert live.allow_migrate("default", "customers") and not live.allow_migrate("vendor", "auth")
