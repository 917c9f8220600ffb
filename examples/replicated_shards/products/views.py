from collections import Counter

from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Paginator
from django.db.models import Sum
from django.shortcuts import get_object_or_404, redirect, render

from customers.models import Order
from products.models import Product
from reviews.forms import ReviewForm
from reviews.joins import attach, attach_ratings
from reviews.models import Review
from sharding import gather

PAGE_SIZE = 20


def attach_sales(products):
    """Set ``sold`` of each product: how many were ordered, on all shards.

    Returns a dict of the errors, by the aliases of the shards that are unavailable. Their orders
    are not counted.
    """
    orders = Order.objects.filter(product_id__in=[product.pk for product in products])
    sales, missing = gather.each(orders, sales_by_product, partial=True)
    sold = Counter()
    # A product has orders on several shards, so the numbers of all shards are added.
    for of_shard in sales.values():
        sold.update(of_shard)
    for product in products:
        product.sold = sold[product.pk]
    return missing


def sales_by_product(orders):
    return dict(orders.values_list("product_id").annotate(Sum("quantity")))


def product_list(request):
    page = Paginator(Product.objects.order_by("pk"), PAGE_SIZE).get_page(request.GET.get("page"))
    attach_ratings(page.object_list)
    missing = attach_sales(page.object_list)
    return render(request, "products/product_list.html", {"page": page, "missing": missing})


def product_detail(request, pk):
    # Also for a POST: no constraint prevents a review of a product that was deleted.
    product = get_object_or_404(Product, pk=pk)

    if request.method == "POST":
        if not request.user.is_authenticated:
            return redirect_to_login(request.path)
        review = Review(product_id=product.pk, author_id=request.user.pk)
        form = ReviewForm(request.POST, instance=review)
        if form.is_valid():
            form.save()
            return redirect(product)
    else:
        form = ReviewForm()

    attach_ratings([product])
    missing = attach_sales([product])
    reviews = Review.objects.filter(product_id=product.pk).order_by("-created", "-pk")
    page = Paginator(reviews, PAGE_SIZE).get_page(request.GET.get("page"))
    attach(page.object_list, author=User)
    context = {"product": product, "page": page, "form": form, "missing": missing}
    return render(request, "products/product_detail.html", context)
