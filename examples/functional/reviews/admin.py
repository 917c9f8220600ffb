from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.models import User

from products.models import Product
from reviews.joins import attach
from reviews.models import Review


class ReviewAdminForm(forms.ModelForm):
    """Check that the product and the author exist, as the form of a foreign key would."""

    def _clean_key(self, field, model):
        pk = self.cleaned_data[field]
        if not model.objects.filter(pk=pk).exists():
            raise forms.ValidationError(f"There is no {model._meta.verbose_name} {pk}.")
        return pk

    def clean_product_id(self):
        return self._clean_key("product_id", Product)

    def clean_author_id(self):
        return self._clean_key("author_id", User)


class ReviewChangeList(ChangeList):
    def get_results(self, request):
        super().get_results(request)
        attach(self.result_list, product=Product, author=User)


@admin.register(Review)
class ReviewAdmin(admin.ModelAdmin):
    form = ReviewAdminForm
    list_display = ["text", "rating", "product", "author", "created"]
    list_filter = ["rating"]
    search_fields = ["text"]

    def get_changelist(self, request, **kwargs):
        return ReviewChangeList

    @admin.display
    def product(self, review):
        return review.product or "(deleted product)"

    @admin.display
    def author(self, review):
        return review.author or "(deleted user)"
