"""A replica fails after the router has chosen it, and before the query."""

import sqlite3

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, OperationalError, connections, transaction

from products.models import Product
from replicas import health, reading
from shop.middleware import QueryLog
from tests.engines import only_sqlite


@pytest.fixture
def dead(shop, monkeypatch):
    """Open a scope. Return the alias of its replica, whose queries fail from now on."""
    with reading.scope():
        alias = reading.database()
        connection = connections[alias]
        monkeypatch.setattr(reading, "CHOICE", 60)
        reading.database()
        # SQLite has no server to kill. Instead, each SELECT on this connection raises an error.
        create_cursor = type(connection).create_cursor

        def fail(name=None):
            cursor = create_cursor(connection, name)

            execute = cursor.execute

            def execute_unless_dead(sql, *arguments):
                if sql.lstrip().startswith("SELECT"):
                    raise OperationalError("the server closed the connection unexpectedly")
                return execute(sql, *arguments)

            cursor.execute = execute_unless_dead
            return cursor

        monkeypatch.setattr(connection, "create_cursor", fail)
        yield alias


def test_the_primary_answers(dead, caplog):
    log = QueryLog()
    with (
        connections[dead].execute_wrapper(log.note),
        connections["default"].execute_wrapper(log.note),
    ):
        assert Product.objects.using(dead).get().name == "Patient sundial"
        assert [p.pk for p in Product.objects.using(dead).iterator(chunk_size=1)] == [1]
        assert list(Product.objects.using(dead).values_list("name", flat=True))
    assert [query["alias"] for query in log.queries] == [dead, "default"] * 3
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{dead} is not read from: the server closed")
    assert health.seconds_behind(dead) is None


def test_raw_queries_and_cursors_too(dead):
    assert Product.objects.using(dead).raw("SELECT * FROM products_product")[0].pk == 1
    with connections[dead].cursor() as cursor:
        cursor.execute("SELECT name FROM products_product WHERE id = %s", [1])
        assert list(cursor.fetchall()) == [("Patient sundial",)]
        assert cursor.description[0][0] == "name"


def test_a_write_that_a_replica_refuses_is_not_done_elsewhere(shop):
    with pytest.raises(DatabaseError, match="read.?only"):
        Product.objects.using("replica1").update(name="Overwound sundial")
    assert Product.objects.get().name == "Patient sundial"
    with reading.scope():
        assert {reading.database() for _ in range(20)} < {"replica1", "replica2"}


def test_a_transaction_on_a_replica_stays_there(dead):
    with (
        pytest.raises(DatabaseError, match="closed the connection"),
        transaction.atomic(using=dead),
    ):
        Product.objects.using(dead).count()


def test_an_error_of_the_query_itself_is_the_callers(shop):
    with connections["replica1"].cursor() as cursor, pytest.raises(DatabaseError):
        cursor.execute("SELECT nonsense")
    assert health.seconds_behind("replica1") is not None


@only_sqlite("test_postgres and test_mariadb test such errors on servers")
def test_an_error_of_a_replica_that_answers_is_the_callers(shop):
    """The primary could run the query, but the replica forbids or interrupts it on purpose."""

    def forbid(action, table, *arguments):
        return sqlite3.SQLITE_DENY if table == "auth_user" else sqlite3.SQLITE_OK

    connection = connections["replica1"]
    connection.ensure_connection()
    connection.connection.set_authorizer(forbid)
    with pytest.raises(DatabaseError, match="prohibited"):
        list(User.objects.using("replica1"))
    connection.connection.set_authorizer(None)
    connection.connection.set_progress_handler(lambda: True, 10_000)
    with pytest.raises(OperationalError, match="interrupted"), connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
            "LIMIT 1000000) SELECT i FROM n)"
        )
    assert not health._retry_at


def test_a_query_that_is_in_the_way_of_replication_is_sent_to_the_primary_once(shop, monkeypatch):
    class Conflict(Exception):
        sqlstate = "40001"

    def cancel(execute, sql, params, many, context):
        error = OperationalError("canceling statement due to conflict with recovery")
        raise error from Conflict()

    with connections["replica1"].execute_wrapper(cancel):
        assert Product.objects.using("replica1").get().name == "Patient sundial"
    assert not health._retry_at
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE products_product SET name = 'Overwound sundial'")
    assert Product.objects.using("replica1").get().name == "Patient sundial"


def test_a_table_that_is_not_on_the_replica_yet(shop):
    """The replica has not applied a migration yet. The primary already has the table."""
    with connections["default"].cursor() as cursor:
        cursor.execute("CREATE TABLE news AS SELECT 'tick' AS headline")
    with connections["replica1"].cursor() as cursor:
        cursor.execute("SELECT headline FROM news")
        assert list(cursor.fetchall()) == [("tick",)]
