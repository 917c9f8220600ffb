from django.core.management import BaseCommand

from shard_replicas.promotion import promoting
from sharding.schema import check_all_migrated, check_shard


class Command(BaseCommand):
    help = (
        "Make the shard map and a shard agree, after a server has put a standby in the place of "
        "the shard by itself. What the standby had not applied is lost, and may be steps of a move."
    )

    def add_arguments(self, parser):
        parser.add_argument("shard", help="its alias, which leads to the new primary by now")
        parser.add_argument(
            "--force", action="store_true", help="also when the only rows of a bucket are lost"
        )

    def handle(self, *, shard, force, **options):
        check_shard(shard)
        check_all_migrated()
        with promoting(shard, shard, force):
            pass  # the server has done it
        self.stdout.write(f"The shard map and {shard} agree.")
