import random
from collections import Counter
from contextlib import ExitStack, contextmanager

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet

from sharding import gather
from sharding.buckets import by_alias, in_buckets, shard_map
from sharding.fields import bucket_of_row, in_bucket
from sharding.keys import BUCKETS, bucket_of
from sharding.writing import writing


class ShardFilter(admin.SimpleListFilter):
    """The filter for one shard, or all."""

    title = "shard"
    parameter_name = "shard"

    def lookups(self, request, model_admin):
        return [(alias, alias) for alias in settings.SHARDS]

    def queryset(self, request, queryset):
        if self.value() in settings.SHARDS:
            here = queryset.using(self.value())
            uncounted = shard_map().uncounted(self.value())
            return here.exclude(in_buckets(uncounted)) if uncounted else here
        return queryset


class ShardedChangeList(ChangeList):
    def get_ordering(self, request, queryset):
        """As Django's, but order text by code points, so that the shards' rows can be merged."""
        order = super().get_ordering(request, queryset)
        return order if queryset._db else [gather.by_code_points(queryset, by) for by in order]

    def get_results(self, request):
        super().get_results(request)
        if isinstance(self.result_list, QuerySet) and self.result_list._db is None:
            # All rows are on one page, and Django hasn't used the paginator.
            self.result_list = gather.top(self.result_list)


class KeyedAdmin(admin.ModelAdmin):
    """The admin of a root model if ``SHARDS`` is empty: Django's, but the action deletes by row."""

    def delete_queryset(self, request, queryset):
        for row in queryset:
            self.delete_model(request, row)


class ShardedAdmin(KeyedAdmin):
    """The admin of a root model.

    Django's admin asks the router for a database to begin a transaction on, and passes no instance.
    So this class sets the bucket before.
    """

    list_filter = [ShardFilter]
    show_facets = admin.ShowFacets.NEVER  # they count with a queryset of no shard
    show_full_result_count = False
    actions = ["delete_selected"]

    def get_changelist(self, request, **kwargs):
        return ShardedChangeList

    def get_paginator(self, request, queryset, *args, **kwargs):
        # Django also calls this for the history of a row, which is not sharded.
        everywhere = queryset.model is self.model and queryset._db is None
        rows = gather.AllRows(queryset) if everywhere else queryset
        return super().get_paginator(request, rows, *args, **kwargs)

    @contextmanager
    def _bucket(self, request, object_id):
        """Set the bucket of a row, or a random one for a new row. For a POST, lock it."""
        try:
            bucket = bucket_of(int(unquote(object_id)))
        except (TypeError, ValueError):  # a new row (None), or a wrong URL
            bucket = random.randrange(BUCKETS)
        with ExitStack() as stack:
            stack.enter_context(in_bucket(bucket))
            if request.method == "POST":
                stack.enter_context(writing([bucket], alone=True))
            yield

    def changeform_view(self, request, object_id=None, form_url="", extra_context=None):
        with self._bucket(request, object_id):
            return super().changeform_view(request, object_id, form_url, extra_context)

    def delete_view(self, request, object_id, extra_context=None):
        with self._bucket(request, object_id):
            return super().delete_view(request, object_id, extra_context)

    @admin.action(permissions=["delete"], description=delete_selected.short_description)
    def delete_selected(self, request, queryset):
        if queryset._db is None:
            # The action then sends no query for the rows.
            queryset._result_cache = gather.top(queryset)
        return delete_selected(self, request, queryset)

    def get_deleted_objects(self, objs, request):
        shown, counts, forbidden, protected = [], Counter(), set(), []
        for rows in by_alias(objs, bucket_of_row).values():
            with in_bucket(bucket_of_row(rows[0])):
                there = super().get_deleted_objects(rows, request)
            shown += there[0]
            counts.update(there[1])
            forbidden |= there[2]
            protected += there[3]
        return shown, dict(counts), forbidden, protected


if not getattr(settings, "SHARDS", True):  # if it is missing, apps.py says so
    ShardedAdmin = KeyedAdmin
