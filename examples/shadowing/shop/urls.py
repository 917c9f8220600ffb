from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from listings.views import article_detail, article_list
from products.views import product_detail, product_list
from shop.views import difference_list

urlpatterns = [
    path("", product_list, name="product_list"),
    path("products/<int:pk>/", product_detail, name="product_detail"),
    path("differences/", difference_list, name="difference_list"),
    path("articles/", article_list, name="article_list"),
    path("articles/<number>/", article_detail, name="article_detail"),
    path("accounts/login/", LoginView.as_view(), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
]
