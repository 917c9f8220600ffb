from pathlib import Path

from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.db import Error, connections

SCRIPT = Path(__file__).parents[2] / "catalogue.sql"
GROUPS = ["Springs", "Hands", "Pendulums", "Keys", "Oil"]
INSERT = 'INSERT INTO "TBL_ARTIKEL" VALUES (%s, %s, %s, %s, %s)'


class Command(BaseCommand):
    help = "Play the supplier: write an edition of the catalogue into the supplier's database."
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument(
            "--articles", default=300, help="how many articles, before an edition omits some"
        )
        parser.add_argument(
            "--edition",
            default=1,
            help="1 or more; each omits other articles, and has other prices",
        )

    def handle(self, **options):
        values = {}
        for name in ("articles", "edition"):
            if not str(options[name]).isdecimal() or not 1 <= int(options[name]) <= 9_999_999:
                raise CommandError(
                    f"--{name} must be a whole number from 1 to 9999999, not {options[name]!r}."
                )
            values[name] = int(options[name])
        supplier = connection_of_the_supplier()
        # Django quotes the names, so on PostgreSQL they keep their case.
        quote = supplier.ops.quote_name("")[0]
        try:
            with supplier.cursor() as cursor:
                supplier.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
                for statement in SCRIPT.read_text().strip().split(";\n"):
                    cursor.execute(statement.replace('"', quote))
                cursor.executemany(INSERT.replace('"', quote), articles(**values))
                cursor.execute(f"SELECT COUNT(*) FROM {supplier.ops.quote_name('TBL_ARTIKEL')}")
                (count,) = cursor.fetchone()
                supplier.commit()
        except Error as error:
            line = " ".join(str(error).split())
            raise CommandError(f"{supplier.settings_dict['NAME']}: {line}.") from error
        finally:
            supplier.close()
        self.stdout.write(f"vendor: {count} articles, edition {values['edition']}.")


def connection_of_the_supplier():
    """Return a connection that can write: that of the alias ``vendor`` is read-only."""
    supplier = connections["vendor"].copy()
    if supplier.vendor == "sqlite":
        supplier.settings_dict |= {
            "NAME": settings.VENDOR,
            "OPTIONS": {"transaction_mode": "IMMEDIATE"},
        }
    else:
        supplier.settings_dict["OPTIONS"].pop("options", None)  # PostgreSQL
        supplier.settings_dict["OPTIONS"].pop("init_command", None)  # MariaDB
    return supplier


def articles(articles, edition):
    """Yield the rows of an edition. Each edition has other prices, and omits another 50th."""
    for n in range(1, articles + 1):
        if n % 50 != edition % 50:
            group, name = 10 + n % 5 * 10, f"{GROUPS[n % 5]}, size {n}"
            yield f"A{n:07}", name, group, 50 + n * 7919 % 4000 + 10 * edition, n * 31 % 120
