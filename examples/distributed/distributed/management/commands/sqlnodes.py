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

    # From Django 6.1 on, other checks connect to the servers, which are not yet prepared.
    requires_system_checks = ["distributed"]

    def handle(self, **options):
        coordinator = connections[settings.COORDINATOR]
        engine = ENGINES.get(coordinator.vendor)
        if not settings.NODES or engine is None:
            raise CommandError(
                "There are no nodes to make known: "
                + (
                    f"the coordinator is on {coordinator.display_name}."
                    if settings.NODES
                    else "NODES is empty."
                )
            )
        for statement in [*engine.allow(coordinator), *engine.prepare(coordinator)]:
            self.stdout.write(f"{statement};")
