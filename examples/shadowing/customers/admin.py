from django.contrib import admin

from customers.models import Customer, Order
from shop.admin import SnapshotAdmin


@admin.register(Customer)
class CustomerAdmin(SnapshotAdmin):
    list_display = ["name", "email", "phone"]
    search_fields = ["name", "email"]


@admin.register(Order)
class OrderAdmin(SnapshotAdmin):
    list_display = ["placed", "customer", "product_id", "quantity"]
    list_select_related = ["customer"]
    raw_id_fields = ["customer", "product"]
