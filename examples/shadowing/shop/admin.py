from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied


class ReadOnlyAdmin(admin.ModelAdmin):
    """Shows the rows of a read-only database, without forms to change them."""

    def has_add_permission(self, request, obj=None):
        return False

    has_change_permission = has_delete_permission = has_add_permission

    # Django asks the router for a database to write to before it checks the permission.

    def changeform_view(self, request, *args, **kwargs):
        if request.method == "POST":
            raise PermissionDenied
        return super().changeform_view(request, *args, **kwargs)

    def delete_view(self, request, *args, **kwargs):
        if request.method == "POST":
            raise PermissionDenied
        return super().delete_view(request, *args, **kwargs)


# The rows of a snapshot can't be changed. In production they can.
SnapshotAdmin = ReadOnlyAdmin if "production" in settings.DATABASES else admin.ModelAdmin
