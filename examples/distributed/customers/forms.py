from django import forms

from customers.models import Order
from products.models import Product


class OrderForm(forms.ModelForm):
    """An order: the view sets the customer, and the price is that of the product."""

    # The product is in another database. A foreign key would make this field; here it is written.
    product = forms.ModelChoiceField(Product.objects.order_by("name", "pk"))

    class Meta:
        model = Order
        fields = ["quantity"]

    def clean_quantity(self):
        if self.cleaned_data["quantity"] < 1:
            raise forms.ValidationError("Order one, or more.")
        return self.cleaned_data["quantity"]

    def save(self, commit=True):
        product = self.cleaned_data["product"]
        self.instance.product_id, self.instance.price = product.pk, product.price
        return super().save(commit)
