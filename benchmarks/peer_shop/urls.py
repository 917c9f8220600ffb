from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", include("djanquiltdb.contrib.quilt_admin.urls")),
    path("admin/", admin.site.urls),
]
