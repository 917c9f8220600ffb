from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from customers.views import customer_detail, customer_list
from products.views import product_detail, product_list

urlpatterns = [
    path("", product_list, name="product_list"),
    path("products/<int:pk>/", product_detail, name="product_detail"),
    path("customers/", customer_list, name="customer_list"),
    path("customers/<int:pk>/", customer_detail, name="customer_detail"),
    path("accounts/login/", LoginView.as_view(), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
]
