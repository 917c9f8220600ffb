from django.contrib import admin

from shop.admin import ReadOnlyAdmin
from vendor.models import Article, Group


@admin.register(Article)
class ArticleAdmin(ReadOnlyAdmin):
    list_display = ["number", "name", "group", "cents", "stock"]
    list_select_related = ["group"]
    list_filter = ["group"]
    search_fields = ["number", "name"]


admin.site.register(Group, ReadOnlyAdmin)
