"""Joins in Python, in place of JOIN and GROUP BY, because the tables are in two databases."""

from django.db.models import Avg, Count

from reviews.models import Review


def attach(reviews, **models):
    """Set the related objects of each review, with one query for each model.

    ``attach(reviews, author=User)`` sets ``review.author`` to the ``User`` with the key
    ``review.author_id``, or to None when there is no such user.
    """
    for name, model in models.items():
        found = model.objects.in_bulk({getattr(review, f"{name}_id") for review in reviews})
        for review in reviews:
            setattr(review, name, found.get(getattr(review, f"{name}_id")))


def attach_ratings(products):
    """Set ``review_count`` and ``mean_rating`` of each product (None without reviews)."""
    ratings = {
        row["product_id"]: row
        for row in Review.objects.filter(product_id__in=[product.pk for product in products])
        .values("product_id")
        .annotate(count=Count("pk"), mean=Avg("rating"))
    }
    for product in products:
        rating = ratings.get(product.pk, {"count": 0, "mean": None})
        product.review_count = rating["count"]
        product.mean_rating = rating["mean"]
