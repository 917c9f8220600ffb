"""A shard loses its replicas, and then its primary. Other shards are not affected."""

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import DatabaseError, OperationalError, connections

from conftest import customer_on
from sharding.gather import ShardDown
from shop.unavailable import ShardsDownMiddleware
from tests.engines import only_sqlite
from tests.shops import REPLICAS

R0, R1 = (settings.REPLICAS[shard] for shard in ("shard0", "shard1"))


def counts(response):
    return response.wsgi_request.query_log.counts


def test_without_replicas_its_reads_go_to_the_primary(staff, ada, ben, shop, caplog):
    with shop.lost(*R1):
        response = staff.get(ben.get_absolute_url())
        assert response.status_code == 200 and counts(response).keys() == {"default", "shard1"}
        assert counts(staff.get(ada.get_absolute_url())).keys() - set(R0) == {"default"}
        page = staff.get("/customers/")
        assert "2 customers" in page.content.decode() and "shard1" in counts(page)
    assert {record.args[0] for record in caplog.records} == set(R1)


def test_without_its_primary_it_is_read_but_not_written(staff, ada, ben, product, shop):
    with shop.lost("shard1"):
        assert staff.get(ben.get_absolute_url()).status_code == 200
        assert "2 customers" in staff.get("/customers/").content.decode()
        response = staff.post(ben.get_absolute_url(), {"product": product.pk, "quantity": 1})
        assert response.status_code == 503
        assert staff.post(ada.get_absolute_url(), {"product": product.pk, "quantity": 1}).url


def test_without_any(staff, ada, ben, product, shop):
    ada.orders.create(product_id=product.pk, price=1, quantity=2)
    shop.replicate("shard0_replica1", "shard0_replica2")
    with shop.lost("shard1", *R1):
        response = staff.get(ben.get_absolute_url())
        assert (response.status_code, response["Retry-After"]) == (503, "30")
        page = response.content.decode()
        assert "shard1 is unavailable, and this page needs it." in page
        assert "Log out clerk" in page
        assert "shard0" not in page.split("<footer>")[0]

        assert staff.get(ada.get_absolute_url()).status_code == 200
        assert staff.post(ada.get_absolute_url(), {"product": product.pk, "quantity": 1}).url
        page = staff.get("/customers/").content.decode()
        assert "shard1 is unavailable: its customers are missing here." in page
        assert "Ada" in page and "Ben" not in page
        page = staff.get("/").content.decode()
        assert "3 sold, without the customers on shard1" in page
        assert staff.get(product.get_absolute_url()).status_code == 200
    assert staff.get(ben.get_absolute_url()).status_code == 200


def test_a_gather_that_wants_all_or_nothing(shop, rf):
    """A view that doesn't pass ``partial=True`` gets this page without code of its own."""
    error = ShardDown({"shard0": OperationalError("connection refused")})
    response = ShardsDownMiddleware(None).process_exception(rf.get("/"), error)
    assert response.status_code == 503 and "shard0 is unavailable" in response.content.decode()


@only_sqlite("it damages a file")
def test_an_error_that_is_no_shards_goes_on_as_it_is(staff, ada, product, shop):
    connections["reviews"].close()
    shop.file("reviews").write_bytes(b"The cuckoo has nested here." * 1000)
    with pytest.raises(DatabaseError, match="file is not a database"):
        staff.get("/")


@only_sqlite("the command replication_status is for SQLite")
def test_status_of_all_that_can_be_asked(ada, shop, capsys):
    customer_on("shard1")
    with shop.lost("shard0"):
        with pytest.raises(CommandError, match="shard0.sqlite3: "):
            call_command("replication_status")
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == ["database", "shard1", *R1]
    call_command("replication_status")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["database", "shard0", *R0, "shard1", *R1]
    assert len(REPLICAS) == 4 and lines[-1].split()[2] == "1"
