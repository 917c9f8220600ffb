from django.db import models
from django.utils import timezone

from products.models import Product


class Customer(models.Model):
    name = models.CharField(max_length=100)
    email = models.EmailField(unique=True)
    phone = models.CharField(max_length=30, null=True, blank=True, unique=True)

    def __str__(self):
        return self.name


class Order(models.Model):
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="orders")
    product = models.ForeignKey(Product, models.PROTECT, related_name="orders")
    quantity = models.PositiveIntegerField()
    placed = models.DateTimeField(default=timezone.now)

    def __str__(self):
        return f"{self.quantity} × product {self.product_id}"
