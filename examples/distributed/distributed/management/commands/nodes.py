from django.conf import settings
from django.core.management import BaseCommand
from django.db import DatabaseError, InterfaceError, connections

from distributed.tables import distributed, has_guard, lacking, rows


class Command(BaseCommand):
    help = (
        "Ask each node for its rows of the distributed tables, how many of these belong on another "
        "node (0), whether it refuses such rows, and which migrations it lacks."
    )

    requires_system_checks = []  # they may ask the servers, and stop at one that is down

    def handle(self, **options):
        if not settings.NODES:
            return "There are no nodes, because NODES is empty. All rows are in one database."
        tables = distributed()
        names = [str(table.model._meta.verbose_name_plural) for table in tables]
        wide = max(len(address(alias)) for alias in settings.NODES)
        line = f"{{:<10}} {{:<{wide}}}" + " {:>12}" * len(tables) + " {:>9} {:>5}  {}"
        self.stdout.write(
            line.format("node", "address", *names, "misplaced", "guard", "migrations")
        )
        for alias in settings.NODES:
            try:
                state = line.format(alias, address(alias), *describe(connections[alias], tables))
            except (DatabaseError, InterfaceError) as error:
                said = " ".join(str(error).split())
                state = f"{alias:<10} {address(alias):<{wide}} down: {said}"
            self.stdout.write(state)
        return None


def address(alias):
    node = connections[alias].settings_dict
    port = f":{node['PORT']}" if node["PORT"] else ""
    return f"{node['HOST']}{port}/{node['NAME']}"


def describe(connection, tables):
    """Return the columns of a node, as texts."""
    if lacks := lacking(connection):
        # It may lack the tables too.
        return [""] * (len(tables) + 2) + [f"lacks {', '.join(lacks)}"]
    counts = [rows(connection, table) for table in tables]
    guarded = all(has_guard(connection, table.model) for table in tables)
    return [
        *[f"{count:,}" for count, _ in counts],
        f"{sum(misplaced for _, misplaced in counts):,}",
        "yes" if guarded else "no",
        "all",
    ]
