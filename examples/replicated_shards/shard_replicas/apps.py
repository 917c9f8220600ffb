from django.apps import AppConfig
from django.core.checks import register


class ShardReplicasConfig(AppConfig):
    name = "shard_replicas"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        from shard_replicas.checks import check_promote
        from shard_replicas.readable import await_replicas, note_positions
        from sharding.signals import placement_changing, rows_expiring

        register(check_promote)
        placement_changing.connect(note_positions)
        rows_expiring.connect(await_replicas)
