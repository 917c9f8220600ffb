from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Paginator
from django.shortcuts import get_object_or_404, redirect, render

from products.models import Product
from reviews.forms import ReviewForm
from reviews.joins import attach, attach_ratings
from reviews.models import Review

PAGE_SIZE = 20


def product_list(request):
    page = Paginator(Product.objects.order_by("pk"), PAGE_SIZE).get_page(request.GET.get("page"))
    attach_ratings(page.object_list)
    return render(request, "products/product_list.html", {"page": page})


def product_detail(request, pk):
    # A POST reads the product, too, because no constraint refuses a review of a missing product.
    # (If the product is deleted between this line and the INSERT, check_references reports it.)
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
    reviews = Review.objects.filter(product_id=product.pk).order_by("-created", "-pk")
    page = Paginator(reviews, PAGE_SIZE).get_page(request.GET.get("page"))
    attach(page.object_list, author=User)
    context = {"product": product, "page": page, "form": form}
    return render(request, "products/product_detail.html", context)
