from django.db import models


class Listing(models.Model):
    """What we add to an article of the supplier's: columns that their table can't be given.

    No foreign key reaches into another database: a listing holds the article's number, and the
    article may be gone from the catalogue tomorrow.
    """

    article_number = models.CharField(max_length=8, unique=True)
    price = models.DecimalField(max_digits=8, decimal_places=2, null=True, blank=True)
    blurb = models.CharField(max_length=200, blank=True)
    featured = models.BooleanField(default=False)

    def __str__(self):
        return f"listing of article {self.article_number}"
