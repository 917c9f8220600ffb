from django.db import models


class Listing(models.Model):
    """Our columns for an article of the supplier, whose table we can't change.

    Django supports no foreign key to another database, so a listing has the number of its article.
    The article may later be deleted from the catalogue.
    """

    article_number = models.CharField(max_length=8, unique=True)
    price = models.DecimalField(max_digits=8, decimal_places=2, null=True, blank=True)
    blurb = models.CharField(max_length=200, blank=True)
    featured = models.BooleanField(default=False)

    def __str__(self):
        return f"listing of article {self.article_number}"
