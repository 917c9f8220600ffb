import json

from django.core.management import BaseCommand, CommandError
from django.db import connections

from multidb_checks.differences import reports_on


class Command(BaseCommand):
    help = (
        "Compare each database with the routers, the models and the migrations. Nothing is "
        "written. The exit status is 1 if something differs."
    )
    # A fault that `check` reports must not keep this command from its work.
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument(
            "--database",
            action="append",
            choices=tuple(connections),
            dest="databases",
            help="Compare only this database. May be given several times.",
        )
        parser.add_argument(
            "--format", choices=["text", "json"], default="text", help="The default is text."
        )

    def handle(self, *, databases, format, **options):
        reports = []
        for report in reports_on(databases or list(connections)):
            reports.append(report)
            if format == "text":
                for line in lines_of(report):
                    self.stdout.write(line)
        if format == "json":
            self.stdout.write(json.dumps([report.as_dict() for report in reports], indent=2))
        if found := sum(len(report.differences) for report in reports):
            raise CommandError("1 difference." if found == 1 else f"{found} differences.")


def lines_of(report):
    """Yield the lines of the text about a database."""
    for difference in report.differences:
        yield f"{report.alias}: {difference.message} {difference.hint}"
    if not report.differences:
        count = len(report.tables)
        compared = f"{count} table{'' if count == 1 else 's'}, nothing differs."
        yield f"{report.alias}: {report.note or compared}"
