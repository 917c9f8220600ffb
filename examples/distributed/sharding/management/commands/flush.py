from django.conf import settings
from django.core.management import CommandError
from django.core.management.commands import flush
from django.db import DEFAULT_DB_ALIAS

from sharding.buckets import Bucket
from sharding.errors import errors_in_one_line, some
from sharding.fences.models import HeldBucket
from sharding.keys import BUCKETS


class Command(flush.Command):
    """As Django's, but raise CommandError if the map or the fences could not be made again.

    After a flush of ``default``, the map is made from the fences on all shards. After one of a
    shard, its fences are made from the map.
    """

    def handle(self, **options):
        # A TransactionTestCase passes inhibit_post_migrate, and may not query each database.
        if settings.SHARDS and "inhibit_post_migrate" not in options:
            self.check_buckets(options["database"])
        return super().handle(**options)

    def check_buckets(self, alias):
        if alias != DEFAULT_DB_ALIAS and alias not in settings.SHARDS:
            return
        with errors_in_one_line(DEFAULT_DB_ALIAS):
            moving = Bucket.objects.using(DEFAULT_DB_ALIAS).exclude(uncounted_on=None)
            numbers = list(moving.order_by("number").values_list("number", flat=True))
        if numbers:
            raise CommandError(
                f"Nothing was flushed, because buckets are moving: {some(numbers)}. Run reshard "
                "again, which finishes the moves."
            )
        if alias == DEFAULT_DB_ALIAS:
            held = set()
            for shard in settings.SHARDS:
                with errors_in_one_line(shard):
                    held.update(HeldBucket.objects.using(shard).values_list("number", flat=True))
            if lost := sorted(set(range(BUCKETS)) - held):
                raise CommandError(
                    f"Nothing was flushed, because no shard takes writes for bucket {some(lost)}, "
                    "and only the map has its shard. Run: python manage.py shard_status"
                )
