from django.db import models


class Purchase(models.Model):
    """Who has bought what, so that a review can be shown as a buyer's. It is in `reviews`."""

    order_id = models.BigIntegerField(primary_key=True)
    product_id = models.BigIntegerField()
    buyer_id = models.BigIntegerField()
    quantity = models.PositiveSmallIntegerField()

    class Meta:
        indexes = [models.Index(fields=["buyer_id", "product_id"], name="purchase_buyer_product")]

    def __str__(self):
        return f"Purchase {self.order_id}"


class Sold(models.Model):
    """How many pieces of a product were sold."""

    product_id = models.BigIntegerField(primary_key=True)
    pieces = models.IntegerField(default=0)

    class Meta:
        verbose_name_plural = "sold"

    def __str__(self):
        return f"Product {self.product_id}: {self.pieces}"
