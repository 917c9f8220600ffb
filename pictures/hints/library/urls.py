from django.contrib import admin
from django.http import HttpResponse
from django.urls import include, path


def home(request):
    return HttpResponse(str(request.user))


urlpatterns = [
    path("", home),
    path("admin/", admin.site.urls),
    path("accounts/", include("django.contrib.auth.urls")),
]
