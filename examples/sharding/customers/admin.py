from django import forms
from django.contrib import admin

from customers.models import Customer, Order
from directory import claims
from directory.models import EmailAddress
from products.models import Product
from sharding.admin import ShardedAdmin


class CustomerForm(forms.ModelForm):
    def clean_email(self):
        """Say early, in the form, what ``claims.save()`` would find."""
        email = self.cleaned_data["email"]
        others = EmailAddress.objects.filter(pk=claims.normalised(email))
        if others.exclude(owner_id=self.instance.pk).exists():
            raise forms.ValidationError("Another customer has this address.")
        return email


class OrderForm(forms.ModelForm):
    def clean_product_id(self):
        """Check by hand what a foreign key would."""
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
    ordering = ["-joined"]  # the order of the keys is that of the buckets

    def save_model(self, request, obj, form, change):
        claims.save(obj)

    def delete_model(self, request, obj):
        claims.delete(obj)
