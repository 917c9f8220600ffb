from django.core.management import call_command
from django.db import connections

from replication import files
from replication.files import ReplicationError
from replication.management.commands import promote
from shard_replicas.promotion import promoting


class Command(promote.Command):
    """The app ``replication``'s own, with what the shard map has to be told of it."""

    def handle(self, *, alias, force, **options):
        files.replicas(alias)  # raises ReplicationError where it is none
        with promoting(self.shard(alias), alias, force):
            super().handle(alias=alias, force=force, **options)

    def renew_replicas(self, alias):
        # At once: a position of the old log says nothing about the new one.
        for replica in files.primaries()[self.shard(alias)]:
            try:
                call_command("replicate", snapshot=True, only=replica, stdout=self.stdout)
            except ReplicationError as error:
                self.stdout.write(f"{replica} is not to be read from: {error}")

    def shard(self, alias):
        return connections[alias].settings_dict["TEST"]["MIRROR"]
