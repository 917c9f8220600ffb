"""What the nodes have, and what goes wrong with several servers that do not with one."""

import threading

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import (
    DatabaseError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    connection,
    connections,
    models,
    transaction,
)
from django.db.models import Count, F

from conftest import customer_on, key_on, needs_nodes, needs_servers
from customers.models import Customer, Order
from distributed import checks
from sharding.keys import bucket_of, new_key

pytestmark = [needs_nodes, pytest.mark.django_db(databases="__all__", transaction=True)]

on_postgresql = pytest.mark.skipif(
    "postgresql" not in str(settings.DATABASES), reason="this is about PostgreSQL"
)
on_mariadb = pytest.mark.skipif(
    "mysql" not in str(settings.DATABASES), reason="this is about MariaDB"
)


@pytest.fixture
def customers():
    """A customer with an order on each node, by the alias of the node."""
    customers = {node: customer_on(node, f"on {node}") for node in settings.NODES}
    for customer in customers.values():
        customer.orders.create(product_id=1, price=5)
    return customers


def there(node, model):
    """Return the rows that a node has."""
    return list(models.QuerySet(model, using=node))


def execute(sql, alias="default"):
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else None


def test_a_row_is_on_one_node_with_its_children(customers):
    for node, customer in customers.items():
        assert there(node, Customer) == [customer]
        assert there(node, Order) == list(customer.orders.all())


@on_postgresql
def test_a_query_with_the_key_asks_one_node(customers):
    ada = customers["node1"]
    for rows in (Customer.objects.filter(pk=ada.pk), ada.orders.all()):
        assert rows.explain(verbose=True).count("Remote SQL") == 1
    joined = Customer.objects.filter(pk=ada.pk).annotate(n=Count("orders"))
    assert "node0" not in joined.explain(verbose=True)


@on_postgresql
def test_count_fetches_each_row_but_a_sum_for_each_customer_is_computed_on_the_nodes(customers):
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN VERBOSE SELECT COUNT(*) FROM customers_customer")
        plan = str(cursor.fetchall())
    assert plan.count("Remote SQL: SELECT NULL FROM public.customers_customer'") == 3
    execute("SET enable_partitionwise_aggregate = on")
    try:
        sums = Order.objects.values("customer_id").annotate(n=Count("pk"))
        assert sums.explain(verbose=True).count("GROUP BY 1") == 3
        execute("SET enable_partitionwise_aggregate = off")
        assert "GROUP BY 1" not in sums.explain(verbose=True)
    finally:
        execute("RESET enable_partitionwise_aggregate")


@on_postgresql
def test_django_groups_by_all_columns_because_there_is_no_primary_key(customers, monkeypatch):
    counted = Customer.objects.annotate(n=Count("orders"))
    assert [customer.n for customer in counted] == [1, 1, 1]
    monkeypatch.setattr(connection.features, "allows_group_by_selected_pks", True)
    with pytest.raises(ProgrammingError, match="must appear in the GROUP BY clause"):
        list(Customer.objects.annotate(n=Count("orders")))


@on_postgresql
def test_an_upsert_needs_a_unique_index_on_the_coordinator(customers):
    again = Customer(pk=customers["node0"].pk, name="again", email="again@x.example")
    with pytest.raises(ProgrammingError, match="no unique or exclusion constraint matching"):
        Customer.objects.bulk_create(
            [again], update_conflicts=True, unique_fields=["pk"], update_fields=["name"]
        )


@on_mariadb
def test_an_upsert(customers):
    ada = customers["node1"]
    again = Customer(pk=ada.pk, name="again", email="again@x.example")
    Customer.objects.bulk_create([again], update_conflicts=True, update_fields=["name"])
    (found,) = there("node1", Customer)
    assert (found.name, found.email) == ("again", ada.email)


@on_mariadb
def test_spider_refuses_savepoints_so_django_uses_none(customers):
    error = pytest.raises(OperationalError, match="doesn't support SAVEPOINT")
    with error, transaction.atomic():
        assert Customer.objects.count() == 3
        execute("SAVEPOINT s")
    with transaction.atomic():
        assert Customer.objects.count() == 3
        with transaction.atomic():
            Customer.objects.update(name="Eunice")
    assert set(Customer.objects.values_list("name", flat=True)) == {"Eunice"}


@on_mariadb
def test_without_a_trigger_a_delete_reports_no_rows(customers):
    assert customers["node0"].orders.all().delete()[0] == 1
    execute("DROP TRIGGER customers_order_counted")
    try:
        assert customers["node1"].orders.all().delete()[0] == 0
        assert there("node1", Order) == []
    finally:
        execute(
            "CREATE TRIGGER customers_order_counted BEFORE DELETE ON customers_order "
            "FOR EACH ROW BEGIN END"
        )


REFUSED = {
    "postgresql": 'violates check constraint "customers_customer_of_node"',
    "mysql": "The id of this row can't change: insert a new row and delete this one",
}


def test_a_row_can_not_change_its_node(customers):
    """By an UPDATE of the column by which the rows are distributed."""
    ada = customers["node0"]
    ada.orders.all().delete()
    with pytest.raises(DatabaseError) as error:
        Customer.objects.filter(pk=ada.pk).update(id=key_on("node1"))
    assert REFUSED[connection.vendor] in str(error.value)
    assert Customer.objects.get(pk=ada.pk) == ada


@on_postgresql
def test_without_the_guard_the_row_is_on_a_node_where_get_does_not_look(customers, capsys):
    ada, key = customers["node0"], key_on("node1")
    ada.orders.all().delete()
    constraint = "CONSTRAINT customers_customer_of_node"
    ((check,),) = execute(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conname = 'customers_customer_of_node'",
        "node0",
    )
    execute(f"ALTER TABLE customers_customer DROP {constraint}", "node0")
    try:
        assert Customer.objects.filter(pk=ada.pk).update(id=key) == 1
        assert [customer.pk for customer in there("node0", Customer)] == [key]
        assert not Customer.objects.filter(pk=key).exists()
        assert Customer.objects.filter(name=ada.name).get().pk == key
        call_command("nodes")
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[-3:] for line in lines[1:]] == [
            ["1", "no", "all"],
            ["0", "yes", "all"],
            ["0", "yes", "all"],
        ]
    finally:
        models.QuerySet(Customer, using="node0").delete()
        execute(f"ALTER TABLE customers_customer ADD {constraint} {check}", "node0")


@on_mariadb
def test_without_the_guard_the_row_moves_and_loses_values(customers):
    """Spider moves the row, but has not read the columns that the UPDATE does not name."""
    customers["node0"].orders.all().delete()
    ((_, _, trigger, *_),) = execute("SHOW CREATE TRIGGER customers_customer_stays")
    execute("DROP TRIGGER customers_customer_stays")
    for alias in [*settings.NODES, "default"]:
        execute(
            "ALTER TABLE customers_customer MODIFY email varchar(254) NULL, "
            "MODIFY joined datetime(6) NULL",
            alias,
        )
    try:
        Customer.objects.filter(name="on node0").update(id=key_on("node1"))
        assert there("node0", Customer) == []
        moved, _ = sorted(there("node1", Customer), key=lambda customer: customer.name)
        assert (moved.name, moved.email, moved.joined) == ("on node0", None, None)
    finally:
        models.QuerySet(Customer).filter(email=None).delete()
        for alias in [*settings.NODES, "default"]:
            execute(
                "ALTER TABLE customers_customer MODIFY email varchar(254) NOT NULL, "
                "MODIFY joined datetime(6) NOT NULL",
                alias,
            )
        execute(trigger)


def test_a_node_refuses_the_rows_of_another(customers):
    stray = Customer(pk=key_on("node1"), name="stray", email="stray@x.example")
    with pytest.raises(DatabaseError, match="customers_customer_of_node"):
        models.QuerySet(Customer, using="node0").bulk_create([stray])


@on_postgresql
def test_an_order_of_no_customer_is_refused_at_commit_when_other_nodes_have_committed(customers):
    error = pytest.raises(IntegrityError, match="remote SQL command: COMMIT TRANSACTION")
    with error, transaction.atomic():
        Customer.objects.update(name="half")
        Order.objects.create(customer_id=key_on("node1"), product_id=1, price=1)
    assert Customer.objects.get(pk=customers["node1"].pk).name == "on node1"
    assert Customer.objects.filter(name="half").count() == 2


def test_two_rows_with_one_key_on_two_nodes():
    """No index spans the nodes. So keys must be made in a way that makes each key once.

    On MariaDB a bucket is on one node, and an order is in the bucket of its customer, so there the
    primary key of that node refuses the second row.
    """
    ada = customer_on("node0")
    eunice = ada
    while eunice in there("node0", Customer):
        eunice = Customer(pk=new_key(bucket_of(ada.pk)), name="Eunice", email="e@x.example")
        eunice.save()
        if connection.vendor == "mysql":
            break
    order = ada.orders.create(product_id=1, price=1)
    twice = Order(pk=order.pk, customer=eunice, product_id=1, price=1)
    if connection.vendor == "mysql":
        with pytest.raises(IntegrityError):
            twice.save(force_insert=True)
    else:
        twice.save(force_insert=True)
        with pytest.raises(Order.MultipleObjectsReturned):
            Order.objects.get(pk=order.pk)


DOWN = {
    "postgresql": 'could not connect to server "node1"',
    "mysql": "Unable to connect to foreign data source: test_shop_node1",
}


@needs_servers
def test_a_node_is_down(customers, outage, capsys):
    outage.kill("node1")
    for node in ("node0", "node2"):
        ada = customers[node]
        assert Customer.objects.get(pk=ada.pk).orders.count() == 1
        ada.orders.create(product_id=2, price=1)
    for query in (
        lambda: Customer.objects.get(pk=customers["node1"].pk),
        Customer.objects.count,
        lambda: list(Customer.objects.order_by("-joined")[:1]),
    ):
        with pytest.raises(OperationalError, match=DOWN[connection.vendor]):
            query()
    call_command("nodes")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[1].endswith(" 0   yes  all")
    assert lines[2].startswith("node1 ") and " down: " in lines[2]
    (warning,) = checks.check_servers(databases=["default"])
    assert warning.msg.startswith('The node "node1" is unavailable: ')


@needs_servers
def test_a_commit_on_several_nodes_is_not_atomic(customers, outage):
    """A node ends after the statements and before the COMMIT."""
    halves = 0
    for lost in settings.NODES:
        with pytest.raises(OperationalError), transaction.atomic():
            assert Customer.objects.update(name=f"without {lost}") == 3
            outage.kill(lost)
        connections.close_all()
        kept = [there(node, Customer)[0].name for node in settings.NODES if node != lost]
        halves += f"without {lost}" in kept
        outage.revive(lost)
        assert there(lost, Customer)[0].name != f"without {lost}"
    # PostgreSQL rolls back the nodes after the first that fails. Spider commits the others.
    assert halves >= 1


@needs_servers
def test_a_commit_on_one_node_is_atomic(customers, outage):
    ada = customers["node1"]
    with pytest.raises(OperationalError), transaction.atomic():
        ada.orders.all().update(quantity=F("quantity") + 1)
        ada.orders.create(product_id=2, price=1)
        outage.kill("node1")
    outage.revive("node1")
    connections.close_all()
    assert [order.quantity for order in ada.orders.all()] == [1]


def test_two_writers_of_one_row(customers):
    """postgres_fdw reads each node in REPEATABLE READ, so the second of two writers fails."""
    ada, errors = customers["node0"], []
    written, go_on = threading.Event(), threading.Event()

    def add():
        try:
            with transaction.atomic():
                ada.orders.update(quantity=F("quantity") + 1)
                written.set()
                go_on.wait(10)
        except OperationalError as error:
            errors.append(str(error))
        finally:
            connection.close()

    first = threading.Thread(target=add)
    first.start()
    written.wait(10)
    second = threading.Thread(target=add)
    second.start()
    second.join(0.5)  # it waits for the first
    go_on.set()
    first.join()
    second.join()
    if connection.vendor == "postgresql":
        (error,) = errors
        assert "could not serialize access due to concurrent update" in error
        assert ada.orders.get().quantity == 2
    else:
        assert errors == []
        assert ada.orders.get().quantity == 3
