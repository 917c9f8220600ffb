from django.db import models
from django.utils import timezone


class Review(models.Model):
    """A customer's review of a product.

    The product and the author are in another database, and no foreign key can refer to them. So a
    review stores plain keys, and no constraint checks that the rows with these keys exist.
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
            # A foreign key has an index. This index also sorts the reviews of a product by time.
            models.Index(fields=["product_id", "created"], name="review_product_created"),
        ]

    def __str__(self):
        return f"{self.rating}/5 for product {self.product_id}"
