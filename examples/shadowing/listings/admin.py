from django import forms
from django.contrib import admin

from listings.models import Listing
from products.admin import OriginAdmin
from vendor.models import Article


class ListingAdminForm(forms.ModelForm):
    """Checks that there is an article with this number, as a foreign key would."""

    def clean_article_number(self):
        number = self.cleaned_data["article_number"]
        # A listing can still be changed after its article was deleted.
        changed = number != self.instance.article_number
        if changed and not Article.objects.filter(pk=number).exists():
            raise forms.ValidationError(f"The supplier has no article {number}.")
        return number


@admin.register(Listing)
class ListingAdmin(OriginAdmin):
    form = ListingAdminForm
    list_display = ["article_number", "article", "price", "featured"]
    list_filter = ["featured"]
    search_fields = ["article_number", "blurb"]

    def get_changelist_instance(self, request):
        changelist = super().get_changelist_instance(request)
        numbers = [listing.article_number for listing in changelist.result_list]
        articles = Article.objects.in_bulk(numbers)
        for listing in changelist.result_list:
            listing.found = articles.get(listing.article_number)
        return changelist

    @admin.display
    def article(self, listing):
        return listing.found or "(no longer in the catalogue)"
