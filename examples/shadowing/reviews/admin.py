from django.contrib import admin

from reviews.models import Review


@admin.register(Review)
class ReviewAdmin(admin.ModelAdmin):
    list_display = ["text", "rating", "product", "author", "created"]
    list_filter = ["rating"]
    list_select_related = []  # otherwise Django joins each foreign key that the list shows
    raw_id_fields = ["product", "author"]
    search_fields = ["text"]

    def get_queryset(self, request):
        # One query for each, and no JOIN: the authors are in the snapshot.
        return super().get_queryset(request).prefetch_related("product", "author")
