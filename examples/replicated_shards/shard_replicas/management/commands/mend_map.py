from django.core.management import BaseCommand

from shard_replicas.promotion import promoting
from sharding.schema import check_all_migrated, check_shard


class Command(BaseCommand):
    help = (
        "Correct the shard map after a server has promoted a standby of a shard by itself. Changes "
        "that the standby had not applied are lost, and these may include steps of a move."
    )

    def add_arguments(self, parser):
        parser.add_argument("shard", help="the alias of the shard; it must lead to the new primary")
        parser.add_argument(
            "--force", action="store_true", help="even if the only rows of a bucket are lost"
        )

    def handle(self, *, shard, force, **options):
        check_shard(shard)
        check_all_migrated()
        with promoting(shard, shard, force):
            pass  # the server has promoted the standby already
        self.stdout.write(f"The shard map and {shard} agree.")
