from django.contrib import admin

from purchases.models import Purchase, Sold


@admin.register(Purchase, Sold)
class ReadOnlyAdmin(admin.ModelAdmin):
    """Only the outbox writes these rows."""

    def has_add_permission(self, request):
        return False

    has_change_permission = has_delete_permission = lambda self, request, obj=None: False
