from uuid import uuid7

from django.db import models
from django.utils import timezone
from djanquiltdb import STATES, State
from djanquiltdb.decorators import mirrored_model, shard_mapping_model, sharded_model
from djanquiltdb.models import BaseShard, MappingQuerySet


@mirrored_model()
class Shard(BaseShard):
    class Meta:
        app_label = "customers"


@shard_mapping_model(mapping_field="customer")
class Home(models.Model):
    """The shard of a customer."""

    customer = models.UUIDField(unique=True)
    shard = models.ForeignKey(Shard, models.PROTECT)
    state = models.CharField(max_length=1, choices=STATES, default=State.ACTIVE)
    objects = MappingQuerySet.as_manager()

    def __str__(self):
        return f"{self.customer} on {self.shard}"


@sharded_model()
class Customer(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7)
    name = models.CharField(max_length=100, db_index=True)
    email = models.EmailField()
    joined = models.DateTimeField(default=timezone.now, editable=False, db_index=True)

    def __str__(self):
        return self.name


@sharded_model()
class Order(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7)
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="orders")
    product_id = models.BigIntegerField()
    quantity = models.PositiveSmallIntegerField(default=1)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    created = models.DateTimeField(default=timezone.now, editable=False, db_index=True)

    def __str__(self):
        return f"{self.quantity} × product {self.product_id}"
