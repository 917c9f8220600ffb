from django.contrib.admin.views.decorators import staff_member_required
from django.core.paginator import Paginator
from django.db.models import F, Sum
from django.shortcuts import get_object_or_404, redirect, render

from customers.forms import OrderForm
from customers.models import Customer, Order
from directory import claims
from products.models import Product
from sharding.gather import AllRows

PAGE_SIZE = 20


@staff_member_required(login_url="login")
def customer_list(request):
    """List all customers, or those with a name or an address, from all shards."""
    search = request.GET.get("q", "").strip()
    if "@" in search:
        # The directory has the owner of an address, so only one shard is queried.
        try:
            return redirect(claims.find(search))
        except Customer.DoesNotExist:
            found = Customer.objects.none()
    else:
        found = Customer.objects.filter(name__icontains=search)
    # If a shard is down, the list shows the customers of the others.
    rows = AllRows(found.order_by("-joined"), partial=True)
    page = Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))
    context = {"page": page, "search": search, "missing": rows.missing}
    return render(request, "customers/customer_list.html", context)


@staff_member_required(login_url="login")
def customer_detail(request, pk):
    customer = get_object_or_404(Customer, pk=pk)
    form = OrderForm(request.POST or None, instance=Order(customer=customer))
    if request.method == "POST" and form.is_valid():
        form.save()
        return redirect(customer)
    orders = customer.orders.order_by("-created", "-pk")
    page = Paginator(orders, PAGE_SIZE).get_page(request.GET.get("page"))
    # A JOIN is not possible, because products are in another database.
    products = Product.objects.in_bulk({order.product_id for order in page.object_list})
    for order in page.object_list:
        order.product = products.get(order.product_id)
    context = {
        "customer": customer,
        "page": page,
        "spent": orders.aggregate(sum=Sum(F("quantity") * F("price")))["sum"] or 0,
        "form": form,
    }
    return render(request, "customers/customer_detail.html", context)
