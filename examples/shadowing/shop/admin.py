from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied


class ReadOnlyAdmin(admin.ModelAdmin):
    """Rows to be looked at, of a database that refuses to be written to."""

    def has_add_permission(self, request, obj=None):
        return False

    has_change_permission = has_delete_permission = has_add_permission

    # Django asks the router where to write before it asks for the permission.

    def changeform_view(self, request, *args, **kwargs):
        if request.method == "POST":
            raise PermissionDenied
        return super().changeform_view(request, *args, **kwargs)

    def delete_view(self, request, *args, **kwargs):
        if request.method == "POST":
            raise PermissionDenied
        return super().delete_view(request, *args, **kwargs)


# Over a snapshot its rows can't be changed; in production they can.
SnapshotAdmin = ReadOnlyAdmin if "production" in settings.DATABASES else admin.ModelAdmin
