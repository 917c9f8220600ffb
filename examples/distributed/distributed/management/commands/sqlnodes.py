from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.db import connections

from distributed.engines import ENGINES


class Command(BaseCommand):
    help = (
        "Print the SQL that makes the nodes known to the coordinator, with their passwords. An "
        "administrator executes it in the coordinator's database. With only the first statements, "
        "which grant rights, migrate executes the others by itself."
    )

    def handle(self, **options):
        coordinator = connections[settings.COORDINATOR]
        engine = ENGINES.get(coordinator.vendor)
        if not settings.NODES or engine is None:
            raise CommandError(
                "NODES is empty, so there is nothing to make known. Write the aliases of the nodes "
                "into settings.NODES, and an entry for each into DATABASES."
            )
        for statement in [*engine.allow(coordinator), *engine.prepare(coordinator)]:
            self.stdout.write(f"{statement};")
