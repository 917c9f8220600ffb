from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Paginator
from django.db.models import Avg, Count
from django.shortcuts import get_object_or_404, redirect, render

from products.models import Product
from reviews.forms import ReviewForm
from reviews.models import Review

PAGE_SIZE = 20
RATED = Product.objects.annotate(review_count=Count("reviews"), mean_rating=Avg("reviews__rating"))


def product_list(request):
    page = Paginator(RATED.order_by("pk"), PAGE_SIZE).get_page(request.GET.get("page"))
    return render(request, "products/product_list.html", {"page": page})


def product_detail(request, pk):
    product = get_object_or_404(RATED, pk=pk)

    if request.method == "POST":
        if not request.user.is_authenticated:
            return redirect_to_login(request.path)
        review = Review(product=product, author=request.user)
        form = ReviewForm(request.POST, instance=review)
        if form.is_valid():
            form.save()
            return redirect(product)
    else:
        form = ReviewForm()

    reviews = product.reviews.select_related("author").order_by("-created", "-pk")
    page = Paginator(reviews, PAGE_SIZE).get_page(request.GET.get("page"))
    context = {"product": product, "page": page, "form": form}
    return render(request, "products/product_detail.html", context)
