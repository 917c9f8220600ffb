import os
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import mkstemp

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, connections
from tqdm import tqdm

PAGES = 1_000  # of the database, copied at a time
SETTINGS = {"SNAPSHOT": 'BASE_DIR / "snapshot.sqlite3"', "PERSONAL": "{}"}


class Command(BaseCommand):
    help = (
        "Make the snapshot from the live database, which may be written to meanwhile. What the "
        "setting PERSONAL names does not get into it. Run with production's settings."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--database", default=DEFAULT_DB_ALIAS, help="the alias of production (default)"
        )

    def handle(self, *, database, **options):
        if settings.SNAPSHOT_DATABASE in settings.DATABASES:
            raise CommandError(
                "These settings read the snapshot, and don't know production. "
                "Run with production's: python manage.py snapshot --settings=..."
            )
        for name, example in SETTINGS.items():
            if not hasattr(settings, name):
                raise CommandError(f"In production's settings, write {name} = {example}")
        if database not in settings.DATABASES:
            raise CommandError(f'DATABASES has no "{database}": --database={DEFAULT_DB_ALIAS}?')
        live = connections[database]
        if live.vendor != "sqlite":
            raise CommandError(f"This makes snapshots of SQLite; of {live.vendor}, use its dump.")
        masks = [self.mask_of(label, masks) for label, masks in settings.PERSONAL.items()]
        try:
            # Read-only, and of our own: Django's connection would make a file that is missing.
            uri = f"{Path(live.settings_dict['NAME']).absolute().as_uri()}?mode=ro"
            # A database without a name. What is personal is never in a file that one can open,
            # nor in one that stays behind when this is killed.
            with (
                closing(sqlite3.connect(uri, uri=True)) as source,
                closing(sqlite3.connect("", isolation_level=None)) as copy,
            ):
                self.copy(source, copy)
                for mask in masks:
                    self.mask(copy, *mask)
                self.publish(copy)
        except sqlite3.Error as error:
            raise CommandError(f"{live.settings_dict['NAME']}: {error}.") from error
        except OSError as error:
            raise CommandError(f"{settings.SNAPSHOT}: {error.strerror}.") from error

    def mask_of(self, label, masks):
        """Return a model and its masks: a text, or None, by field. None for the whole table."""
        try:
            model = apps.get_model(label)
        except (LookupError, ValueError):
            raise CommandError(f"PERSONAL: there is no model {label}.") from None
        if masks is None:
            return model, None
        columns = {field.name: field for field in model._meta.concrete_fields}
        fields = {}
        for name, mask in masks.items():
            field = columns.get(name)
            if field is None:
                raise CommandError(f"PERSONAL: {label} has no column {name}.")
            if mask is None and not field.null:
                raise CommandError(f"PERSONAL: {label}.{name} can't be NULL: give a text for it.")
            if mask is not None:
                if field.unique and "{pk}" not in mask:
                    raise CommandError(
                        f"PERSONAL: {label}.{name} is unique: its text needs {{pk}}."
                    )
                try:
                    field.clean(mask.replace("{pk}", str(2**53)), None)
                except ValidationError as error:
                    raise CommandError(
                        f"PERSONAL: {label}.{name}: {' '.join(error.messages)}"
                    ) from None
            fields[field] = mask
        return model, fields

    def copy(self, source, copy):
        # One read transaction around all steps. Else the first write by another connection would
        # have SQLite start the copy again, and a live site would never let it finish.
        source.execute("BEGIN")
        source.execute("SELECT COUNT(*) FROM sqlite_master")  # what a transaction begins with
        (page_size,) = source.execute("PRAGMA page_size").fetchone()
        with tqdm(unit="B", unit_scale=True, disable=None) as bar:

            def progress(status, remaining, total):
                bar.total = total * page_size
                bar.update((total - remaining) * page_size - bar.n)

            source.backup(copy, pages=PAGES, progress=progress)
        # The copy has no write-ahead log to look for, and its unmasked pages no place to stay.
        copy.execute("PRAGMA journal_mode = OFF")

    def mask(self, copy, model, masks):
        table = f'"{model._meta.db_table}"'
        if masks is None:
            rows = copy.execute(f"DELETE FROM {table}").rowcount
            self.stdout.write(f"{model._meta.label}: {rows} rows left out.")
            return
        columns = ", ".join(
            f'"{field.column}" = replace(?, \'{{pk}}\', "{model._meta.pk.column}")'
            for field in masks
        )
        rows = copy.execute(f"UPDATE {table} SET {columns}", list(masks.values())).rowcount
        names = ", ".join(field.name for field in masks)
        self.stdout.write(f"{model._meta.label}: {names} masked in {rows} rows.")

    def publish(self, copy):
        """Put the snapshot in the place of the one before, whole, and read-only."""
        handle, new = mkstemp(dir=settings.SNAPSHOT.parent, prefix=f"{settings.SNAPSHOT.name}.")
        os.close(handle)
        try:
            # Without the free pages, and the ends of pages, where what was masked still stands.
            copy.execute("VACUUM INTO ?", [new])
            os.chmod(new, 0o444)
            size = os.path.getsize(new)
            os.replace(new, settings.SNAPSHOT)
        except BaseException:
            os.unlink(new)
            raise
        self.stdout.write(f"{settings.SNAPSHOT.name}: {size / 1e6:.1f} MB, read-only.")
