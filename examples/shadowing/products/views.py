from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Paginator
from django.shortcuts import get_object_or_404, redirect, render

from overlay.rows import is_overlaid, origins
from products.forms import ProductForm
from products.models import Product

PAGE_SIZE = 20


def product_list(request):
    # prefetch_related(), because SQLite is slow to sort a JOIN of two large overlaid tables.
    products = Product.objects.prefetch_related("category").order_by("pk")
    page = Paginator(products, PAGE_SIZE).get_page(request.GET.get("page"))
    # One query for a page of any length.
    found = origins(Product, [product.pk for product in page.object_list])
    for product in page.object_list:
        product.origin = found.get(product.pk)
    context = {"page": page, "is_overlaid": is_overlaid(Product)}
    return render(request, "products/product_list.html", context)


def product_detail(request, pk):
    product = get_object_or_404(Product.objects.select_related("category"), pk=pk)
    if request.method == "POST":
        if not request.user.is_authenticated:
            return redirect_to_login(request.path)
        form = ProductForm(request.POST, instance=product)
        if form.is_valid():
            form.save()
            return redirect(product)
        product = Product.objects.get(pk=pk)  # the stored values, not those of the form
    else:
        form = ProductForm(instance=product)

    # prefetch_related(), not select_related(): only on SQLite can a JOIN include the snapshot's
    # customers.
    reviews = product.reviews.prefetch_related("author").order_by("-created", "-pk")
    context = {
        "product": product,
        "form": form,
        "page": Paginator(reviews, PAGE_SIZE).get_page(request.GET.get("page")),
        "is_overlaid": is_overlaid(Product),
    }
    if context["is_overlaid"]:
        context["there"] = Product.objects.using("production").filter(pk=pk).first()
    return render(request, "products/product_detail.html", context)
