"""The supplier's articles and our listings as one table, though no JOIN reaches across the two.

What crosses between the databases are keys, through Python. That is a query more, or two, for a
page of any length; and where our columns filter or order, a list of keys as long as what they
match. It serves for a catalogue of tens of thousands. For millions, have one database hold both: a
copy of the supplier's tables, or what SQLite calls ATTACH and PostgreSQL a foreign data wrapper.
"""

from django.db.models import Q

from listings.models import Listing
from vendor.models import Article

OURS = "listing__"  # begins the name of a column of ours


def attach_listings(articles):
    """Give each article its ``listing``, or None, with one query for all."""
    listings = Listing.objects.in_bulk(
        [article.number for article in articles], field_name="article_number"
    )
    for article in articles:
        article.listing = listings.get(article.number)
    return articles


def vanished_listings():
    """Return the listings whose article is in the supplier's catalogue no more."""
    listings = list(Listing.objects.order_by("article_number"))
    there = Article.objects.in_bulk([listing.article_number for listing in listings])
    return [listing for listing in listings if listing.article_number not in there]


class Catalogue:
    """A sequence of articles, each with its ``listing``, that ``Paginator`` takes as a queryset.

    ``theirs`` is a ``Q`` of an article's columns and ``ours`` one of a listing's; without it,
    nothing is left out. ``order_by`` names one column, ours after ``listing__``, with a "-"
    for descending. It answers as ``article LEFT JOIN listing`` would: an article that we don't
    list meets no condition on ``ours``, and comes last where they order, as one whose column is
    NULL. The article's number decides between equals.
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
            # One that the supplier has taken out since its key was read is not found.
            articles = [found[key] for key in keys if key in found]
        else:
            articles = list(self.articles.order_by(self.order_by, "pk")[page])
        return attach_listings(articles)

    def _keys_in_our_order(self, column):
        """Return the keys of all the articles, ordered by a column of ours."""
        articles = dict.fromkeys(self.articles.order_by("pk").values_list("pk", flat=True))
        with_value = self.listings.exclude(**{column: None})
        ordered = with_value.order_by(self.order_by.replace(OURS, ""), "article_number")
        in_order = [
            number
            for number in ordered.values_list("article_number", flat=True)
            if number in articles  # else it has vanished, or a condition on theirs leaves it out
        ]
        return list(dict.fromkeys([*in_order, *articles]))
