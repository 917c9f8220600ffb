from django.contrib import admin
from django.utils import timezone

from outbox import conf
from outbox.models import Message


class SourceFilter(admin.SimpleListFilter):
    title = parameter_name = "source"

    def lookups(self, request, model_admin):
        return [(alias, alias) for alias in conf.sources()]

    def queryset(self, request, queryset):
        return queryset  # get_queryset() has used the database already

    def choices(self, changelist):
        # Without "All": a list shows the messages of one database.
        chosen = self.value() or conf.sources()[0]
        for alias, title in self.lookup_choices:
            query = changelist.get_query_string({self.parameter_name: alias})
            yield {"selected": alias == chosen, "query_string": query, "display": title}


def source_of(request):
    """Return the alias that the list shows."""
    aliases = conf.sources()
    asked = request.GET.get(SourceFilter.parameter_name)
    return asked if asked in aliases else aliases[0]


@admin.register(Message)
class MessageAdmin(admin.ModelAdmin):
    """A list of the messages. A message that was set aside can be tried again, or skipped."""

    list_display = ["__str__", "state", "tries", "error", "created", "delivered", "body"]
    list_display_links = None
    list_filter = [SourceFilter, "state", "topic"]
    search_fields = ["key"]
    ordering = ["id"]
    actions = ["try_again", "skip"]

    def get_queryset(self, request):
        return Message.objects.using(source_of(request)).order_by("id")

    def has_add_permission(self, request):
        return False

    def has_delete_permission(self, request, obj=None):
        return False  # A stream without one of its numbers can't go on.

    @admin.action(description="Try again now", permissions=["change"])
    def try_again(self, request, queryset):
        self.make_due(request, queryset, skip=False)

    @admin.action(description="Skip: never apply it, and go on", permissions=["change"])
    def skip(self, request, queryset):
        self.make_due(request, queryset, skip=True)

    def make_due(self, request, queryset, skip):
        stopped = queryset.filter(state__in=[Message.State.FAILING, Message.State.ASIDE])
        failing = Message.State.FAILING
        count = stopped.update(state=failing, skip=skip, tries=0, next_try=timezone.now())
        self.message_user(request, f"{count} will be {'skipped' if skip else 'tried again'}.")
