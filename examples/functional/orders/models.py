from django.contrib.auth.models import User
from django.db import models, transaction

from outbox.sending import send
from products.models import Product


class Order(models.Model):
    """An order of a customer. ``place()`` and ``cancel()`` also send a message to `purchases`."""

    product = models.ForeignKey(Product, models.PROTECT)
    buyer = models.ForeignKey(User, models.PROTECT)
    quantity = models.PositiveSmallIntegerField(default=1)
    cancelled = models.BooleanField(default=False, editable=False)

    def __str__(self):
        return f"Order {self.pk}"

    def place(self, using="default"):
        """Save the order, new or changed, and send a message, in one transaction."""
        with transaction.atomic(using=using):
            self.save(using=using)
            body = {
                "product": self.product_id,
                "buyer": self.buyer_id,
                "quantity": 0 if self.cancelled else self.quantity,
            }
            send("orders", key=self.pk, body=body, using=using)

    def cancel(self):
        self.cancelled = True
        self.place()
