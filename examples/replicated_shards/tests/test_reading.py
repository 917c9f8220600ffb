"""Read-your-writes on each shard."""

import re

import pytest
from django.db import connections, transaction
from django.test import Client

from conftest import customer_on
from customers.models import Customer
from products.models import Product
from replicas import health, reading
from replicas.consistency import COOKIE

R0, R1 = {"shard0_replica1", "shard0_replica2"}, {"shard1_replica1", "shard1_replica2"}


def alias_of(customer):
    """Return the alias that the customer is read from in the current scope."""
    return Customer.objects.get(pk=customer.pk)._state.db


def test_a_write_to_one_shard_leaves_the_reads_of_another_alone(ada, ben):
    with reading.scope() as scope:
        assert alias_of(ada) in R0 and alias_of(ben) in R1
        Customer.objects.filter(pk=ada.pk).update(name="Ada King")
        assert alias_of(ada) == "shard0"
        assert alias_of(ben) in R1
        assert [alias for alias, shard in scope.items() if shard.last_write] == ["shard0"]


def test_the_position_is_that_of_a_shard(ada, ben, shop):
    """A position of one shard has no meaning on another shard, whose log may be longer."""
    for n in range(20):
        ben.orders.create(product_id=n, price=1)
    shop.replicate()
    with reading.scope() as scope:
        ada.orders.create(product_id=1, price=1)
        position = scope["shard0"].position()
    for seen, positions in [
        ({"shard0"}, {"shard0": position}),
        (R0, {"shard1": position}),
    ]:
        with reading.scope(positions):
            assert alias_of(ada) in seen
    shop.replicate("shard0_replica2")
    with reading.scope({"shard0": position}):
        assert alias_of(ada) == "shard0_replica2"


def test_what_was_rolled_back_is_on_the_replicas_too(ada):
    with reading.scope():
        with pytest.raises(ZeroDivisionError), transaction.atomic(using="shard0"):
            Customer.objects.filter(pk=ada.pk).update(name="Ada King")
            raise ZeroDivisionError
        assert alias_of(ada) in R0


def test_demands_as_decorators(ada):
    @reading.use_primary()
    def read():
        return alias_of(ada)

    with reading.scope():
        assert (read(), read()) == ("shard0", "shard0")
        assert alias_of(ada) in R0


def test_demands(ada, ben):
    with reading.scope():
        Customer.objects.filter(pk=ada.pk).update(name="Ada King")
        with reading.allow_stale():
            assert alias_of(ada) in R0
        with reading.use_primary():
            assert (alias_of(ada), alias_of(ben)) == ("shard0", "shard1")
    assert (alias_of(ada), alias_of(ben)) == ("shard0", "shard1")
    with reading.allow_stale():
        assert alias_of(ada) in R0 and alias_of(ben) in R1


def test_a_browser_carries_the_position_of_the_shards_it_wrote_to(staff, ada, ben, product, shop):
    def counts(customer):
        return staff.get(customer.get_absolute_url()).wsgi_request.query_log.counts

    assert counts(ada).keys() - R0 == counts(ben).keys() - R1 == {"default"}
    response = staff.post(ada.get_absolute_url(), {"product": product.pk, "quantity": 1})
    (cookie,) = response.cookies
    assert cookie.startswith(COOKIE.format("shard0"))
    assert counts(ada).keys() == {"default", "shard0"}
    assert counts(ben).keys() - R1 == {"default"}
    other = Client()
    other.force_login(response.wsgi_request.user)
    page = other.get(ada.get_absolute_url())
    assert page.wsgi_request.query_log.counts.keys() - R0 == {"default"}
    assert "No orders yet" in page.content.decode()
    shop.replicate("shard0_replica1")
    assert counts(ada).keys() == {"default", "shard0_replica1"}


def test_a_request_made_for_writing_reads_from_the_primaries(staff, ada, product):
    response = staff.post(ada.get_absolute_url(), {"product": product.pk, "quantity": 0})
    assert response.status_code == 200 and set(response.cookies) == {"csrftoken"}
    assert response.wsgi_request.query_log.counts.keys() == {"default", "shard0"}


def test_what_was_written_to_a_database_of_another_function_pins_nobody(staff, ada, product):
    response = staff.post(product.get_absolute_url(), {"rating": 5, "text": "It passes the time."})
    assert response.status_code == 302 and not response.cookies
    assert "It passes the time." in staff.get(product.get_absolute_url()).content.decode()


def test_the_foot_says_how_far_behind(staff, ada):
    page = staff.get(ada.get_absolute_url()).content.decode()
    assert "s behind" in page and "shard0_replica" in page


def test_a_replica_that_lags_or_is_lost_is_passed_over(ada, ben, shop, caplog):
    shop.let_lag("shard0_replica1", 120)
    for _ in range(10):
        with reading.scope():
            assert alias_of(ada) == "shard0_replica2"
            assert alias_of(ben) in R1
    (record,) = caplog.records
    said = r"shard0_replica1 is not read from: it is 12\d s behind\."
    assert re.search(said, record.getMessage())


def test_a_replica_that_dies_under_a_query(ada, ben, monkeypatch):
    """The primary of the same shard answers, not another database."""
    with reading.scope():
        replica = alias_of(ben)
        create_cursor = type(connections[replica]).create_cursor

        def dead(name=None):
            cursor = create_cursor(connections[replica], name)
            execute = cursor.execute

            def fail(sql, *arguments):
                if sql.startswith("SELECT"):
                    raise connections[replica].Database.OperationalError("the server went away")
                return execute(sql, *arguments)

            cursor.execute = fail
            return cursor

        monkeypatch.setattr(connections[replica], "create_cursor", dead)
        monkeypatch.setattr(health, "answers", lambda connection: False)
        assert Customer.objects.using(replica).get().name == "Ben Mudge"


def test_products_are_read_from_default(shop, product):
    with reading.scope():
        assert Product.objects.get()._state.db == "default"


def test_outside_a_scope_a_new_row_is_there_at_once(shop):
    customer = customer_on("shard1")
    assert Customer.objects.get(pk=customer.pk) == customer
