from django.core.management import call_command
from django.db import connections

from replication import files
from replication.files import ReplicationError
from replication.management.commands import promote
from shard_replicas.promotion import promoting


class Command(promote.Command):
    """The command of the app ``replication``, which also corrects the shard map."""

    def handle(self, *, alias, force, **options):
        files.replicas(alias)  # raises ReplicationError if it is no replica
        with promoting(self.shard(alias), alias, force):
            super().handle(alias=alias, force=force, **options)

    def renew_replicas(self, alias):
        # Do this at once: positions of the old log mean nothing in the new log.
        for replica in files.primaries()[self.shard(alias)]:
            try:
                call_command("replicate", snapshot=True, only=replica, stdout=self.stdout)
            except ReplicationError as error:
                self.stdout.write(f"{replica} was not renewed, so it can't be read from: {error}")

    def shard(self, alias):
        return connections[alias].settings_dict["TEST"]["MIRROR"]
