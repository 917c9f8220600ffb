"""The commands of the README, which create and fill a shop, and their errors."""

import pytest
from django.core.management import CommandError, call_command

from customers.models import Customer, Order
from products.models import Product
from reviews.models import Review
from tests.engines import only_sqlite
from tests.shops import REPLICAS


@only_sqlite(
    "the command replicate is for SQLite; the README is followed on servers that replicate"
)
def test_create_and_fill(manage):
    for command, says in [
        (["migrate"], "Applying sharding.0001_initial"),
        (["migrate", "--database=reviews", "reviews"], "Applying reviews.0001_initial"),
        (["migrate_shards"], "2 shards are up to date. Migrations applied: 4."),
        (["replicate", "--snapshot"], "shard1_replica2: a snapshot at position 1."),
        (["populate", "--customers", "50", "--products", "5"], "5 products; 50 customers: shard0 "),
        (["replicate", "--only", "shard1_replica1"], "shard1_replica1: "),
        (["replication_status"], "the primary"),
    ]:
        process = manage(*command)
        assert process.returncode == 0, process.stderr
        assert says in process.stdout
    behind = {line.split()[0]: line.split()[2] for line in process.stdout.splitlines()}
    assert behind["shard1_replica1"] == "0" and int(behind["shard1_replica2"]) > 25


def test_reviews(product, capsys):
    call_command("populate_reviews")
    call_command("populate_reviews")
    assert capsys.readouterr().out == "1000 reviews by 8 authors.\n" * 2
    assert Review.objects.filter(product_id=product.pk).count() == 1000


def test_reviews_of_no_product(shop):
    with pytest.raises(CommandError, match="^Reviews need a product. Run: python manage.py popul"):
        call_command("populate_reviews")
    assert not Product.objects.exists()


def test_replicas_are_what_their_primaries_are(ada, ben, shop):
    ben.orders.create(product_id=1, price=1)
    shop.replicate()
    for replica in REPLICAS:
        primary = replica.partition("_")[0]
        for model in (Customer, Order):
            rows = [list(model.objects.using(a).values()) for a in (primary, replica)]
            assert rows[0] == rows[1]
