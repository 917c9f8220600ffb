"""Later migrations: of each node first, and then of the coordinator."""

import pytest
from django.apps import apps
from django.conf import settings
from django.db import DatabaseError, connections, migrations, models
from django.db.migrations.state import ProjectState
from django.db.models import Q

from conftest import customer_on, needs_nodes
from customers.models import Customer
from distributed.operations import OnNodes

pytestmark = [needs_nodes, pytest.mark.django_db(databases="__all__", transaction=True)]

ALIASES = [*settings.NODES, "default"]


def apply(alias, operation, state):
    """Apply an operation to a database. Return the state after it."""
    after = state.clone()
    operation.state_forwards("customers", after)
    with connections[alias].schema_editor() as editor:
        operation.database_forwards("customers", editor, state, after)
    return after


def everywhere(operation, state, aliases=ALIASES):
    for alias in aliases:
        after = apply(alias, operation, state)
    return after


@pytest.fixture
def state():
    return ProjectState.from_apps(apps)


@pytest.fixture
def customers():
    return [customer_on(node, node) for node in settings.NODES]


def test_a_field_is_added_renamed_and_removed(state, customers):
    field = models.CharField(max_length=20, db_default="none")
    state = everywhere(migrations.AddField("customer", "phone", field), state)
    new = state.apps.get_model("customers", "Customer")
    assert set(new.objects.values_list("phone", flat=True)) == {"none"}
    new.objects.filter(pk=customers[1].pk).update(phone="1")
    assert new.objects.get(phone="1").pk == customers[1].pk
    customer_on("node0", "of a process with the old code")
    state = everywhere(migrations.RenameField("customer", "phone", "mobile"), state)
    new = state.apps.get_model("customers", "Customer")
    assert new.objects.get(mobile="1").pk == customers[1].pk
    wider = models.CharField(max_length=200, db_default="none")
    state = everywhere(migrations.AlterField("customer", "mobile", wider), state)
    new = state.apps.get_model("customers", "Customer")
    new.objects.filter(mobile="1").update(mobile="1" * 150)
    assert new.objects.filter(mobile="none").count() == 3
    # A column is removed from the coordinator first.
    everywhere(migrations.RemoveField("customer", "mobile"), state, ALIASES[::-1])
    assert Customer.objects.count() == 4


def test_the_coordinator_first_would_ask_for_a_column_that_is_not_there(state, customers):
    field = models.CharField(max_length=20, default="")
    operation = migrations.AddField("customer", "phone", field)
    after = apply("default", operation, state)
    model = after.apps.get_model("customers", "Customer")
    with pytest.raises(DatabaseError, match="phone"):
        list(model.objects.all())
    everywhere(operation, state, settings.NODES)
    assert len(model.objects.all()) == 3
    everywhere(migrations.RemoveField("customer", "phone"), after, ALIASES[::-1])


def test_an_index_and_a_constraint(state, customers):
    index = migrations.AddIndex("customer", models.Index(fields=["email"], name="by_email"))
    after = everywhere(index, state)
    named = models.CheckConstraint(condition=~Q(name=""), name="has_a_name")
    constrained = everywhere(migrations.AddConstraint("customer", named), after)
    with pytest.raises(DatabaseError, match="has_a_name"):
        customer_on("node2", "")
    after = everywhere(migrations.RemoveConstraint("customer", "has_a_name"), constrained)
    everywhere(migrations.RemoveIndex("customer", "by_email"), after)


def test_a_unique_constraint_is_for_the_nodes_only(state, customers):
    unique = migrations.AddConstraint(
        "customer", models.UniqueConstraint(fields=["email"], name="one_email")
    )
    after = everywhere(OnNodes(unique), state)
    # On each node, and not over all of them.
    Customer.objects.filter(pk=customers[0].pk).update(email="ada@clocks.example")
    Customer.objects.filter(pk=customers[1].pk).update(email="ada@clocks.example")
    with pytest.raises(DatabaseError, match="one_email"):
        Customer.objects.filter(pk=customer_on("node0").pk).update(email="ada@clocks.example")
    with pytest.raises(DatabaseError):
        apply("default", unique, state)
    everywhere(OnNodes(migrations.RemoveConstraint("customer", "one_email")), after)
