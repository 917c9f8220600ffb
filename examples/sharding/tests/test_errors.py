"""What goes wrong while a command runs: one line, which names the database."""

import re

import pytest
from django.core.management import CommandError
from django.db import connections

from conftest import customer_on
from customers.models import Customer
from products.models import Product
from sharding import gather
from sharding.buckets import Bucket, forget_map, read_map
from sharding.errors import errors_in_one_line
from tests.databases import named, no_table


def drop(alias, model):
    connection = connections[alias]
    with connection.constraint_checks_disabled(), connection.schema_editor() as editor:
        editor.delete_model(model)


def test_the_database_that_was_asked_last_is_named(shop):
    customer = customer_on("shard2")
    drop("shard2", Customer)
    with pytest.raises(CommandError) as error, errors_in_one_line():
        Product.objects.exists()
        Customer.objects.get(pk=customer.pk)
    assert re.match(
        rf'Database "shard2" \({named("shard2", shop)}\): .*{no_table("shard2", Customer)}',
        str(error.value),
    )


def test_the_database_that_the_caller_named(shop):
    drop("default", Product)
    with (
        pytest.raises(
            CommandError, match=f'^Database "default" .*: .*{no_table("default", Product)}'
        ),
        errors_in_one_line("default"),
    ):
        Product.objects.exists()


def test_a_map_with_a_hole(shop):
    Bucket.objects.filter(number=7).delete()
    forget_map()
    with (
        pytest.raises(CommandError, match="^The shard map has 1023 of 1024 buckets"),
        errors_in_one_line("default"),
    ):
        read_map()


def test_a_gather_over_a_shard_without_a_table(shop):
    """The shard can be asked, and answers with an error: nothing is left out for it."""
    drop("shard1", Customer)
    with (
        pytest.raises(
            CommandError, match=rf'^Database "shard1" \(.+\): .*{no_table("shard1", Customer)}'
        ),
        errors_in_one_line(),
    ):
        gather.count(Customer.objects.all())
