from django.db import models
from django.utils import timezone


class Review(models.Model):
    """What a customer thinks of a product.

    The product and the author live in another database, where no foreign key can reach: a review
    holds their keys, and nothing but our own care keeps these keys true.
    """

    product_id = models.BigIntegerField()
    author_id = models.BigIntegerField()
    rating = models.PositiveSmallIntegerField(choices=[(n, n) for n in range(1, 6)])
    text = models.TextField()
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(rating__range=(1, 5)), name="rating_1_to_5"),
        ]
        indexes = [
            # A foreign key would have come with one. This also puts a product's reviews in order.
            models.Index(fields=["product_id", "created"], name="review_product_created"),
        ]

    def __str__(self):
        return f"{self.rating}/5 for product {self.product_id}"
