from django.contrib import admin

from products.models import Product


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    """Deleting a product leaves the orders of it: a cascade does not cross databases."""

    list_display = ["name", "price"]
    search_fields = ["name"]
