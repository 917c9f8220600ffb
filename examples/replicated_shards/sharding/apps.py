from django.apps import AppConfig
from django.core import checks


class ShardingConfig(AppConfig):
    name = "sharding"

    def ready(self):
        from sharding.checks import check_map, check_shards

        checks.register(check_shards)
        checks.register(check_map, checks.Tags.database)
