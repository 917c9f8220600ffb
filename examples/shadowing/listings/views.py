from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Paginator
from django.db.models import Q
from django.shortcuts import get_object_or_404, redirect, render

from listings.catalogue import Catalogue, attach_listings, vanished_listings
from listings.forms import FilterForm, ListingForm
from listings.models import Listing
from vendor.models import Article

PAGE_SIZE = 20


def article_list(request):
    form = FilterForm(request.GET)
    wanted = form.cleaned_data if form.is_valid() else {}
    theirs, ours = Q(), Q()
    if wanted.get("q"):
        theirs &= Q(name__icontains=wanted["q"])
    if wanted.get("in_stock"):
        theirs &= Q(stock__gt=0)
    if wanted.get("featured"):
        ours &= Q(featured=True)
    catalogue = Catalogue(theirs, ours, wanted.get("order") or "number")
    page = Paginator(catalogue, PAGE_SIZE).get_page(request.GET.get("page"))
    context = {"form": form, "page": page, "vanished": vanished_listings()}
    return render(request, "listings/article_list.html", context)


def article_detail(request, number):
    article = get_object_or_404(Article.objects.select_related("group"), pk=number)
    (article,) = attach_listings([article])
    listing = article.listing or Listing(article_number=number)
    if request.method == "POST":
        if not request.user.is_authenticated:
            return redirect_to_login(request.path)
        form = ListingForm(request.POST, instance=listing)
        if form.is_valid():
            form.save()
            return redirect("article_detail", number)
    else:
        form = ListingForm(instance=listing)
    context = {"article": article, "form": form}
    return render(request, "listings/article_detail.html", context)
