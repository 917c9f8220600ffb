from collections import Counter

from django.core.paginator import Paginator
from django.db.models import Sum
from django.shortcuts import get_object_or_404, render

from customers.models import Order
from products.models import Product
from sharding import gather

PAGE_SIZE = 20


def attach_sales(products):
    """Give each product its ``sold``: how many all shards' customers have ordered."""
    orders = Order.objects.filter(product_id__in=[product.pk for product in products])
    sold = Counter()
    # The shards have orders of the same products: what each says of a product is added up.
    for sales in gather.each(orders, sales_by_product).values():
        sold.update(sales)
    for product in products:
        product.sold = sold[product.pk]


def sales_by_product(orders):
    return dict(orders.values_list("product_id").annotate(Sum("quantity")))


def product_list(request):
    page = Paginator(Product.objects.order_by("pk"), PAGE_SIZE).get_page(request.GET.get("page"))
    attach_sales(page.object_list)
    return render(request, "products/product_list.html", {"page": page})


def product_detail(request, pk):
    product = get_object_or_404(Product, pk=pk)
    attach_sales([product])
    return render(request, "products/product_detail.html", {"product": product})
