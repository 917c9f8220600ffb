from django.apps import AppConfig


class ShardReplicasConfig(AppConfig):
    name = "shard_replicas"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        from shard_replicas.readable import await_replicas, note_positions
        from sharding.signals import placement_changing, rows_expiring

        placement_changing.connect(note_positions)
        rows_expiring.connect(await_replicas)
