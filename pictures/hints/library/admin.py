from django.contrib import admin

from library.models import Author, Book, Chapter


class Chapters(admin.TabularInline):
    model = Chapter
    extra = 0


@admin.register(Author)
class AuthorAdmin(admin.ModelAdmin):
    search_fields = ["name"]


@admin.register(Book)
class BookAdmin(admin.ModelAdmin):
    fields = ["title", "isbn", "author", "tags"]
    list_display = ["title", "author"]
    list_editable = ["author"]
    list_filter = ["tags"]
    date_hierarchy = "published"
    search_fields = ["title"]
    inlines = [Chapters]
