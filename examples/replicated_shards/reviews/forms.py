from django import forms

from reviews.models import Review


class ReviewForm(forms.ModelForm):
    """A customer's part of a review: the view knows the product and the author."""

    class Meta:
        model = Review
        fields = ["rating", "text"]
