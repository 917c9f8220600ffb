from django.contrib import admin

from products.models import Product


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    """Deleting a product leaves its reviews: a cascade does not cross databases.

    They are shown as reviews of a "(deleted product)", and check_references finds them.
    """

    list_display = ["name", "price"]
    search_fields = ["name"]
