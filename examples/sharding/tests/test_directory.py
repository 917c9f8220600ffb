"""One customer an address, over all shards; and what a crash leaves between two databases."""

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from conftest import bucket_on, customer_on
from customers.models import Customer
from directory import claims
from directory.models import EmailAddress
from sharding.keys import new_key


def new_customer(alias, email):
    return Customer(pk=new_key(bucket_on(alias)), name="Ada", email=email)


class Crash(BaseException):
    """The process dies here: nobody catches this."""


@pytest.fixture
def crash(monkeypatch):
    def at(owner, name):
        def die(*args, **kwargs):
            raise Crash

        monkeypatch.setattr(owner, name, die)

    yield at


def reconcile(capsys, older_than=0):
    call_command("reconcile", older_than=older_than)
    return capsys.readouterr().out


ALL_IS_WELL = (
    "Addresses released, because no customer has them: 0. Addresses claimed for customers: 0.\n"
)


def test_an_address_is_one_customers_whatever_the_shard(shop):
    ada = new_customer("shard1", "Ada@Clocks.example")
    claims.save(ada)
    assert claims.find(" ada@clocks.EXAMPLE") == ada
    for alias in ("shard1", "shard3"):
        eunice = new_customer(alias, "ada@clocks.example")
        with pytest.raises(claims.EmailTaken, match="ada@clocks.example belongs to another"):
            claims.save(eunice)
        assert not Customer.objects.filter(pk=eunice.pk).exists()
    with pytest.raises(Customer.DoesNotExist, match="No customer has the address"):
        claims.find("eunice@clocks.example")


def test_not_in_a_transaction_whose_rollback_would_free_the_address(shop):
    with (
        pytest.raises(RuntimeError, match="^An address can't be claimed in a transaction"),
        transaction.atomic(),
    ):
        claims.save(new_customer("shard1", "ada@clocks.example"))
    assert not Customer.objects.using("shard1").exists()
    with transaction.atomic(using="shard1"):  # which may be rolled back: reconcile mends that
        claims.save(new_customer("shard1", "ada@clocks.example"))


@pytest.mark.django_db(databases=["default", "shard1"])
def test_in_the_transaction_of_a_test():
    ada = new_customer("shard1", "ada@clocks.example")
    claims.save(ada)
    assert claims.find("ada@clocks.example") == ada


@pytest.mark.parametrize(
    ("one", "two"), [("émile", "emile"), ("straße", "strasse"), ("ﬁfi", "fifi")]
)
def test_addresses_that_a_language_takes_for_one_are_two(shop, one, two):
    emile, other = (new_customer("shard1", f"{name}@clocks.example") for name in (one, two))
    claims.save(emile)
    claims.save(other)
    assert claims.find(f"{one}@Clocks.example") == emile
    assert claims.find(f" {two.upper()}@clocks.example") == other


def test_all_addresses_are_gone_through_whatever_the_order(shop, capsys, monkeypatch):
    """In chunks, each from the last address of the one before, as the column compares them."""
    monkeypatch.setattr("directory.management.commands.reconcile.CHUNK", 1)
    names = ["émile", "emile", "straße", "strasse", "_", "-", "a.b", "ab", "é", "z"]
    EmailAddress.objects.bulk_create(
        EmailAddress(email=f"{name}@x.example", owner_id=new_key(), claimed=timezone.now())
        for name in names
    )
    assert reconcile(capsys).startswith(
        f"Addresses released, because no customer has them: {len(names)}."
    )


@pytest.mark.parametrize(
    ("vendor", "collation"), [("postgresql", "C"), ("mysql", "utf8mb4_bin"), ("oracle", None)]
)
def test_the_column_is_exact_on_each_engine(monkeypatch, vendor, collation):
    monkeypatch.setattr(connection, "vendor", vendor)
    field = EmailAddress._meta.get_field("email")
    assert field.db_parameters(connection)["collation"] == collation


def test_a_changed_address_is_free_for_others(shop):
    ada = new_customer("shard1", "ada@clocks.example")
    claims.save(ada)
    ada.email = "lovelace@clocks.example"
    claims.save(ada)
    claims.save(new_customer("shard2", "ada@clocks.example"))
    assert claims.find("lovelace@clocks.example") == ada
    claims.delete(ada)
    assert EmailAddress.objects.get().email == "ada@clocks.example"


def test_a_crash_between_claim_and_customer_is_mended(shop, crash, capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Customer, "save", lambda self: (_ for _ in ()).throw(Crash))
        with pytest.raises(Crash):
            claims.save(new_customer("shard1", "ada@clocks.example"))
    with pytest.raises(claims.EmailTaken):  # by nobody
        claims.save(new_customer("shard2", "ada@clocks.example"))
    assert reconcile(capsys, older_than=60) == ALL_IS_WELL  # somebody may be about to use it
    assert reconcile(capsys).startswith("Addresses released, because no customer has them: 1.")
    claims.save(new_customer("shard2", "ada@clocks.example"))
    assert reconcile(capsys) == ALL_IS_WELL


def test_a_crash_before_an_old_address_is_released_is_mended(shop, crash, capsys):
    ada = new_customer("shard1", "ada@clocks.example")
    claims.save(ada)
    ada.email = "lovelace@clocks.example"
    crash(claims, "release")
    with pytest.raises(Crash):
        claims.save(ada)
    # The transaction on the shard was not committed: it is the new address that nobody has.
    assert reconcile(capsys).startswith("Addresses released, because no customer has them: 1.")
    assert EmailAddress.objects.get().email == "ada@clocks.example"


def test_a_customer_without_a_claim_is_given_it(shop, capsys):
    customer = customer_on("shard3")
    assert "Addresses claimed for customers: 1." in reconcile(capsys)
    assert claims.find(customer.email) == customer


def test_two_customers_with_one_address_are_reported(shop, capsys):
    first, second = (
        new_customer("shard1", "a@clocks.example"),
        new_customer("shard2", "A@clocks.example"),
    )
    claims.save(first)
    second.save()
    with pytest.raises(CommandError, match="1 customers have another customer's address"):
        reconcile(capsys)
    assert f"Customer {second.pk}: A@clocks.example belongs to another" in capsys.readouterr().out


def test_who_is_slow_loses_the_claim_and_does_not_go_on(shop, monkeypatch):
    """Reconciled between the claim and the write: by the bucket's lock, one of the two is first."""
    ada = new_customer("shard1", "ada@clocks.example")
    claim = claims.claim

    def slowly(*args):
        claim(*args)
        call_command("reconcile", older_than=0)

    monkeypatch.setattr(claims, "claim", slowly)
    with pytest.raises(claims.ClaimLost):
        claims.save(ada)
    assert not Customer.objects.filter(pk=ada.pk).exists()


def test_many_rows_are_gone_through_in_chunks(shop, monkeypatch, capsys):
    monkeypatch.setattr("directory.management.commands.reconcile.CHUNK", 2)
    pks = [customer_on("shard1").pk for _ in range(5)]
    EmailAddress.objects.bulk_create(
        EmailAddress(email=f"{n}@x.example", owner_id=new_key(), claimed=timezone.now())
        for n in range(5)
    )
    assert reconcile(capsys) == (
        "Addresses released, because no customer has them: 5. Addresses claimed for customers: 5.\n"
    )
    assert set(EmailAddress.objects.values_list("owner_id", flat=True)) == set(pks)


@pytest.mark.parametrize("value", ["soon", "", "nan"])
def test_a_wrong_number_of_seconds(value):
    with pytest.raises(CommandError, match="--older-than must be a number of seconds"):
        call_command("reconcile", f"--older-than={value}")
