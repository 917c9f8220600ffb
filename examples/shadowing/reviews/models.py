from django.db import models
from django.utils import timezone

from customers.models import Customer
from products.models import Product


class Review(models.Model):
    """What a customer thinks of a product."""

    product = models.ForeignKey(Product, models.CASCADE, related_name="reviews")
    author = models.ForeignKey(Customer, models.CASCADE, related_name="reviews")
    rating = models.PositiveSmallIntegerField(choices=[(n, n) for n in range(1, 6)])
    text = models.TextField()
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(rating__range=(1, 5)), name="rating_1_to_5"),
        ]

    def __str__(self):
        return f"{self.rating}/5 for product {self.product_id}"
