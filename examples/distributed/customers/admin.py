from django import forms
from django.contrib import admin

from customers.models import Customer, Order
from directory import claims
from directory.models import EmailAddress
from products.models import Product
from sharding.admin import ShardedAdmin


class CustomerForm(forms.ModelForm):
    def clean_email(self):
        """Show an error in the form, where ``claims.save()`` would raise ``EmailTaken``."""
        email = self.cleaned_data["email"]
        others = EmailAddress.objects.filter(pk=claims.normalised(email))
        if others.exclude(owner_id=self.instance.pk).exists():
            raise forms.ValidationError("Another customer has this address.")
        return email


class OrderForm(forms.ModelForm):
    def clean_product_id(self):
        """Check that the product exists, as a foreign key would."""
        pk = self.cleaned_data["product_id"]
        if not Product.objects.filter(pk=pk).exists():
            raise forms.ValidationError(f"There is no product {pk}.")
        return pk


class OrderInline(admin.TabularInline):
    model = Order
    form = OrderForm
    extra = 1


@admin.register(Customer)
class CustomerAdmin(ShardedAdmin):
    form = CustomerForm
    inlines = [OrderInline]
    list_display = ["name", "email", "joined", "shard"]
    search_fields = ["name", "email"]
    ordering = ["-joined"]  # an order by key would be an order by bucket

    def save_model(self, request, obj, form, change):
        claims.save(obj)

    def delete_model(self, request, obj):
        claims.delete(obj)
