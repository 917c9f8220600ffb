import sqlite3
from contextlib import closing
from pathlib import Path

from django.conf import settings
from django.core.management import BaseCommand, CommandError

SCRIPT = Path(__file__).parents[2] / "catalogue.sql"


class Command(BaseCommand):
    help = "Stand in for the supplier: write an edition of their catalogue into their database."
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("--articles", default=300, help="how many, before some are left out")
        parser.add_argument("--edition", default=1, help="1 or later: other articles, other prices")

    def handle(self, **options):
        values = {}
        for name in ("articles", "edition"):
            if not str(options[name]).isdecimal() or not 1 <= int(options[name]) <= 9_999_999:
                raise CommandError(
                    f"--{name} must be a whole number from 1 to 9999999, not {options[name]!r}."
                )
            values[name] = int(options[name])
        # Past Django: its "vendor" alias can't write. So it is with the supplier's real database.
        try:
            with closing(sqlite3.connect(settings.VENDOR)) as supplier, supplier:
                supplier.execute("BEGIN IMMEDIATE")
                for statement in SCRIPT.read_text().split(";\n"):
                    supplier.execute(statement, values)
                (count,) = supplier.execute("SELECT COUNT(*) FROM TBL_ARTIKEL").fetchone()
        except sqlite3.Error as error:
            raise CommandError(f"{settings.VENDOR}: {error}.") from error
        self.stdout.write(f"{settings.VENDOR.name}: {count} articles, edition {values['edition']}.")
