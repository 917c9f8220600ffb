import pytest
from django.core.management import CommandError, call_command

from conftest import ALIASES, customer_on
from customers.management.commands import populate
from customers.models import Customer, Order
from directory.models import EmailAddress
from products.models import Product
from sharding import gather
from sharding.keys import bucket_of

pytestmark = pytest.mark.django_db(databases=ALIASES)


def shop():
    """What there is, less the keys, which are others each time."""
    customers = {c.pk: c.email for c in gather.top(Customer.objects.all())}
    return (
        sorted((c.name, c.email, c.joined) for c in gather.top(Customer.objects.all())),
        sorted(
            (customers[o.customer_id], o.product_id, o.quantity, o.price, o.created)
            for o in gather.top(Order.objects.all())
        ),
    )


def empty():
    for alias in ALIASES[1:]:
        Order.objects.using(alias).delete()
        Customer.objects.using(alias).delete()
    EmailAddress.objects.all().delete()


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(populate, "BATCH", 100)


def test_it_creates_what_was_asked_for(capsys):
    call_command("populate", products="30", customers="250")
    out = capsys.readouterr().out
    assert out.startswith("30 products; 250 customers: shard0 ") and out.endswith(" orders.\n")
    assert gather.count(Customer.objects.all()) == EmailAddress.objects.count() == 250
    for order in gather.top(Order.objects.all()):
        assert order.bucket == bucket_of(order.customer_id) and order._state.db == order.shard
        order.full_clean()
    for customer in gather.top(Customer.objects.all()):
        customer.full_clean()
    call_command("reconcile")
    assert capsys.readouterr().out.startswith(
        "Addresses released, because no customer has them: 0. "
    )


def test_running_it_again_adds_nothing_and_with_less_deletes_nothing():
    call_command("populate", customers=250)
    before = shop()
    call_command("populate", customers=250)
    call_command("populate", customers=10, products=1)
    assert shop() == before


def test_running_it_with_more_adds_what_is_missing():
    for customers in (30, 150, 250):
        call_command("populate", customers=customers)
    before = shop()
    assert len(before[0]) == 250
    empty()
    call_command("populate", customers=250)
    assert shop() == before


def test_the_seed_decides():
    call_command("populate", customers=150, seed=1)
    one = shop()
    empty()
    call_command("populate", customers=150, seed=2)
    assert shop() != one


def test_a_run_that_was_killed_is_completed():
    call_command("populate", customers=250)
    before = shop()
    # Claims without customers, of the last batch: those of one shard had not been written.
    for customer in gather.top(Customer.objects.filter(email__regex="customer2[0-4][0-9]@")):
        if customer.shard == "shard0":
            customer.delete()
    assert shop() != before
    call_command("populate", customers=250)
    assert shop() == before


def test_other_customers_do_not_count():
    customer_on("shard1", "Eunice")
    Customer.objects.using("shard1").update(email="eunice@elsewhere.example")
    call_command("populate", customers=100)
    assert gather.count(Customer.objects.all()) == 101


@pytest.mark.parametrize(
    ("option", "value"),
    [("products", "-1"), ("customers", "ten"), ("seed", "1.5"), ("customers", "")],
)
def test_a_number_that_is_wrong(option, value):
    with pytest.raises(CommandError) as error:
        call_command("populate", f"--{option}={value}")
    assert str(error.value) == f"--{option} must be a whole number, 0 or more, not {value!r}."


def test_orders_need_a_product():
    with pytest.raises(CommandError, match="Write --products 1 or more"):
        call_command("populate", products=0, customers=1)
    assert not Product.objects.exists()


def test_databases_that_are_not_migrated(manage):
    for command in ("populate", "reconcile"):
        process = manage(command)
        assert process.returncode == 1
        assert process.stderr.strip().endswith("Run: python manage.py migrate")
    assert manage("migrate").returncode == 0
    process = manage("populate")
    assert process.returncode == 1
    assert process.stderr.count("\n") == 1 and "manage.py migrate_shards" in process.stderr
