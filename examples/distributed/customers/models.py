from django.db import models
from django.db.models import F
from django.db.models.lookups import Exact
from django.urls import reverse
from django.utils import timezone

from sharding.fields import KeyField
from sharding.keys import BUCKET_SHIFT
from sharding.models import Sharded


class Customer(Sharded):
    id = KeyField()
    name = models.CharField(max_length=100, db_index=True)
    email = models.EmailField()  # unique across all shards: see the app "directory"
    joined = models.DateTimeField(default=timezone.now, editable=False, db_index=True)

    def __str__(self):
        return self.name

    def get_absolute_url(self):
        return reverse("customer_detail", args=[self.pk])


class Order(Sharded):
    """An order, which is on the shard and in the bucket of its customer.

    The product is in another database, so a foreign key is not possible. An order has the product's
    key, and the price that was paid.
    """

    id = KeyField(of="customer")
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="orders")
    product_id = models.BigIntegerField()
    quantity = models.PositiveSmallIntegerField(default=1)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    created = models.DateTimeField(default=timezone.now, editable=False, db_index=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                # An order moves together with its customer.
                condition=Exact(
                    F("id").bitrightshift(BUCKET_SHIFT),
                    F("customer_id").bitrightshift(BUCKET_SHIFT),
                ),
                name="order_in_its_customers_bucket",
            ),
        ]

    def __str__(self):
        return f"{self.quantity} × product {self.product_id}"
