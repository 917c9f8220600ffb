from django import forms

from listings.models import Listing


class ListingForm(forms.ModelForm):
    """A form for our columns of an article."""

    class Meta:
        model = Listing
        fields = ["price", "blurb", "featured"]


class FilterForm(forms.Form):
    """Conditions on the supplier's columns and on ours, and an order, for the catalogue's page."""

    q = forms.CharField(label="Name contains", required=False)
    in_stock = forms.BooleanField(label="In the supplier's stock", required=False)
    featured = forms.BooleanField(label="Featured by us", required=False)
    order = forms.ChoiceField(
        required=False,
        choices=[
            ("number", "by number"),
            ("cents", "by the supplier's price"),
            ("listing__price", "by our price"),
            ("-listing__price", "by our price, the highest first"),
        ],
    )
