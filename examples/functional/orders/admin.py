from django.contrib import admin

from orders.models import Order


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ["__str__", "product", "buyer", "quantity", "cancelled"]
    actions = ["cancel"]

    def save_model(self, request, obj, form, change):
        obj.place()

    def has_delete_permission(self, request, obj=None):
        return False  # An order is cancelled, and its row stays.

    @admin.action(description="Cancel the orders")
    def cancel(self, request, queryset):
        for order in queryset.filter(cancelled=False):
            order.cancel()
