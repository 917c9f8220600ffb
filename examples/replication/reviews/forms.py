from django import forms

from reviews.models import Review


class ReviewForm(forms.ModelForm):
    """The fields that the customer fills in. The view sets the product and the author."""

    class Meta:
        model = Review
        fields = ["rating", "text"]
