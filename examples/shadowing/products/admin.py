from django.contrib import admin

from overlay.rows import is_overlaid, origins
from products.models import Category, Product


class OriginAdmin(admin.ModelAdmin):
    """Shows for each row whether it differs from the snapshot, with one query for a page."""

    def get_list_display(self, request):
        names = super().get_list_display(request)
        return [*names, "origin"] if is_overlaid(self.model) else names

    def get_changelist_instance(self, request):
        changelist = super().get_changelist_instance(request)
        found = origins(self.model, [row.pk for row in changelist.result_list])
        for row in changelist.result_list:
            row.origin = found.get(row.pk)
        return changelist

    @admin.display
    def origin(self, row):
        return f"overlay: {row.origin}" if row.origin else "snapshot"


@admin.register(Category)
class CategoryAdmin(OriginAdmin):
    list_display = ["name"]


@admin.register(Product)
class ProductAdmin(OriginAdmin):
    list_display = ["name", "code", "category", "price"]
    list_filter = ["category"]
    list_select_related = []  # otherwise Django joins each foreign key that the list shows
    search_fields = ["name", "code"]

    def get_queryset(self, request):
        # Two queries instead of a JOIN, as in `products.views.product_list`.
        return super().get_queryset(request).prefetch_related("category")
