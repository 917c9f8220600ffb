from django.conf import settings
from django.core.management import BaseCommand
from django.db import connections

from distributed.engines import ENGINES


class Command(BaseCommand):
    help = (
        "Print the SQL that makes the nodes known to the coordinator, with their passwords. An "
        "administrator of the coordinator's server executes it in the coordinator's database."
    )

    def handle(self, **options):
        coordinator = connections[settings.COORDINATOR]
        for statement in ENGINES[coordinator.vendor].prepare(coordinator):
            self.stdout.write(f"{statement};")
