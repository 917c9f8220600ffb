"""How to test a project with replicas: with ``"TEST": {"MIRROR": "default"}`` in its settings.

Then, in a test, each replica is a second connection to the test database of the primary. A
``TestCase`` never commits its transaction, so a second connection does not see its writes.
"""

import pytest
from django.db import OperationalError, connections, transaction
from django.test import TestCase, TransactionTestCase

from products.models import Product
from replicas import reading

ALL = ["default", "replica1", "replica2"]


def write():
    return Product.objects.create(name="Patient sundial", description="", price="9.50")


class InATestCase(TestCase):
    """Reads go to the primary, because the test is in a transaction on the primary."""

    def test_a_page(self):
        write()
        with self.assertNumQueries(2):
            self.assertContains(self.client.get("/"), "Patient sundial")

    def test_a_scope(self):
        with reading.scope():
            write()
            self.assertEqual(Product.objects.get()._state.db, "default")


class InATestCaseThatNamesAll(InATestCase):
    """The base class for the tests of a project often has ``databases = "__all__"``."""

    databases = "__all__"


class InATransactionTestCase(TransactionTestCase):
    """Reads go to a replica. To count its queries, the test sets which replica is chosen."""

    databases = ALL

    def test_a_page(self):
        write()
        with (
            self.settings(REPLICAS={"default": ["replica2"]}),
            self.assertNumQueries(2, using="replica2"),
            self.assertNumQueries(0),
        ):
            self.assertContains(self.client.get("/"), "Patient sundial")


@pytest.mark.django_db(transaction=True, databases=ALL)
def test_the_same_with_pytest(client, django_assert_num_queries, settings):
    write()
    settings.REPLICAS = {"default": ["replica2"]}
    with (
        django_assert_num_queries(2, connection=connections["replica2"]),
        django_assert_num_queries(0),
    ):
        assert "Patient sundial" in client.get("/").content.decode()


@pytest.mark.django_db(transaction=True, databases=ALL)
def test_what_a_test_case_with_replicas_would_see():
    """A TestCase opens a transaction on each of its databases. Here, the test opens them."""
    with transaction.atomic(using="default"), transaction.atomic(using="replica1"):
        write()
        try:
            seen = Product.objects.using("replica1").count()
        except OperationalError as error:
            seen = str(error)
    # SQLite raises an error, because both connections use the same database in memory. On other
    # engines, the query finds no row.
    assert seen in ("database table is locked: products_product", 0)
    assert Product.objects.using("replica1").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_replica_that_the_test_does_not_declare_is_refused(client):
    with pytest.raises(AssertionError, match="queries to 'replica[12]' are not allowed"):
        client.get("/")
