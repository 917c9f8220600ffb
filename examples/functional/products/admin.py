from django.contrib import admin

from products.models import Product


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    """A cascade does not cross databases: deleting a product does not delete its reviews.

    The admin of reviews then shows "(deleted product)". check_references finds these reviews.
    """

    list_display = ["name", "price"]
    search_fields = ["name"]
