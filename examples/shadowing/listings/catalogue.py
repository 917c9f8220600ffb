"""Show the supplier's articles and our listings as one table, without a JOIN.

The two tables are in two databases, so Python passes keys from one query to the other. This takes
one or two more queries for a page of any length. To filter or order by one of our columns, it also
takes a list of the keys of all matching rows. That works for a catalogue of tens of thousands of
articles. For millions, put both tables in one database: copy the supplier's tables, or use ATTACH
on SQLite or a foreign data wrapper on PostgreSQL.
"""

from django.db.models import Q

from listings.models import Listing
from vendor.models import Article

OURS = "listing__"  # the prefix of our columns' names


def attach_listings(articles):
    """Give each article its ``listing``, or None, with one query for all."""
    listings = Listing.objects.in_bulk(
        [article.number for article in articles], field_name="article_number"
    )
    for article in articles:
        article.listing = listings.get(article.number)
    return articles


def vanished_listings():
    """Return the listings whose article is no longer in the supplier's catalogue."""
    listings = list(Listing.objects.order_by("article_number"))
    there = Article.objects.in_bulk([listing.article_number for listing in listings])
    return [listing for listing in listings if listing.article_number not in there]


class Catalogue:
    """A sequence of articles, each with its ``listing``. ``Paginator`` accepts it like a queryset.

    ``theirs`` is a ``Q`` of an article's columns, and ``ours`` a ``Q`` of a listing's columns. The
    default of both is no condition. ``order_by`` names one column. A listing's column has the
    prefix ``listing__``. A "-" before the name means descending order. The rows are those of
    ``article LEFT JOIN listing``. An article without a listing meets no condition of ``ours``. In
    the order of a listing's column, articles without a listing, or with NULL in this column, are
    last. Articles with equal values are ordered by their number.
    """

    def __init__(self, theirs=None, ours=None, order_by="number"):
        self.articles = Article.objects.select_related("group").filter(theirs or Q())
        self.listings = Listing.objects.filter(ours or Q())
        if ours:
            listed = list(self.listings.values_list("article_number", flat=True))
            self.articles = self.articles.filter(pk__in=listed)
        self.order_by = order_by

    def count(self):
        return self.articles.count()

    def __getitem__(self, page):
        """Return a list of the articles of a slice."""
        column = self.order_by.removeprefix("-")
        if column.startswith(OURS):
            keys = self._keys_in_our_order(column.removeprefix(OURS))[page]
            found = self.articles.in_bulk(keys)
            # An article may have been deleted after its key was read.
            articles = [found[key] for key in keys if key in found]
        else:
            articles = list(self.articles.order_by(self.order_by, "pk")[page])
        return attach_listings(articles)

    def _keys_in_our_order(self, column):
        """Return the keys of all the articles, ordered by one of our columns."""
        articles = dict.fromkeys(self.articles.order_by("pk").values_list("pk", flat=True))
        with_value = self.listings.exclude(**{column: None})
        ordered = with_value.order_by(self.order_by.replace(OURS, ""), "article_number")
        in_order = [
            number
            for number in ordered.values_list("article_number", flat=True)
            if number in articles  # A missing article is deleted, or doesn't meet `theirs`.
        ]
        return list(dict.fromkeys([*in_order, *articles]))
