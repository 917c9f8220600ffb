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
SETTINGS = {
    "SNAPSHOT": 'BASE_DIR / "snapshot.sqlite3"',
    "PERSONAL": "{}",
    "HARMLESS": "{}",
}


def is_key(field):
    """Whether the column holds keys that the database made: of its own rows, or of other rows."""
    while field.is_relation:
        field = field.target_field
    return field is field.model._meta.auto_field


class Command(BaseCommand):
    help = (
        "Make the snapshot from the live database, which can be written to meanwhile. The setting "
        "PERSONAL names what is masked or left out, and HARMLESS the columns that are copied as "
        "they are. Run this command with production's settings."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--database", default=DEFAULT_DB_ALIAS, help="the alias of production (default)"
        )

    def handle(self, *, database, **options):
        if settings.SNAPSHOT_DATABASE in settings.DATABASES:
            raise CommandError(
                "These settings are for reading the snapshot, not for making it. "
                "Run with production's settings: python manage.py snapshot --settings=..."
            )
        for name, example in SETTINGS.items():
            if not hasattr(settings, name):
                raise CommandError(f"In production's settings, write {name} = {example}")
        if database not in settings.DATABASES:
            raise CommandError(f'DATABASES has no "{database}". Name the alias of production.')
        live = connections[database]
        if live.vendor != "sqlite":
            raise CommandError(
                f"This command is for SQLite. On {live.vendor}, use a dump of the server."
            )
        masks = [self.mask_of(label, masks) for label, masks in settings.PERSONAL.items()]
        try:
            # Not Django's connection: that would create the file if it is missing.
            uri = f"{Path(live.settings_dict['NAME']).absolute().as_uri()}?mode=ro"
            # The copy is a database without a name: no other process can open its file, and no
            # file with personal data is left if this process is killed.
            with (
                closing(sqlite3.connect(uri, uri=True)) as source,
                closing(sqlite3.connect("", isolation_level=None)) as copy,
            ):
                # One read transaction for the whole copy. Otherwise SQLite would start the copy
                # again after each write by another connection, and would never finish it.
                source.execute("BEGIN")
                if names := self.unclassed(source, masks):
                    raise CommandError(
                        f"Neither PERSONAL nor HARMLESS names {', '.join(names)}. Mask columns "
                        "with personal data in PERSONAL, and name the others in HARMLESS."
                    )
                self.copy(source, copy)
                for mask in masks:
                    self.mask(copy, *mask)
                self.publish(copy)
        except sqlite3.Error as error:
            raise CommandError(f"{live.settings_dict['NAME']}: {error}.") from error
        except OSError as error:
            raise CommandError(f"{settings.SNAPSHOT}: {error.strerror}.") from error

    def mask_of(self, label, masks):
        """Return a model and a dict of masks by field, or None to leave out all rows."""
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
                raise CommandError(f"PERSONAL: {label}.{name} can't be NULL. Write a text.")
            if mask is not None:
                if field.unique and "{pk}" not in mask:
                    raise CommandError(
                        f"PERSONAL: {label}.{name} is unique. Write {{pk}} in its text."
                    )
                try:
                    field.clean(mask.replace("{pk}", str(2**53)), None)
                except ValidationError as error:
                    raise CommandError(
                        f"PERSONAL: {label}.{name}: {' '.join(error.messages)}"
                    ) from None
            fields[field] = mask
        return model, fields

    def unclassed(self, source, masks):
        """Return the names of the columns that are neither masked, nor harmless, nor keys.

        All columns of the file are looked at, because a column or a table may still be there whose
        field or model has been removed.
        """
        columns = {
            (field.model._meta.db_table, field.column): field
            for model in apps.get_models(include_auto_created=True)
            for field in model._meta.local_concrete_fields
        }
        left_out = {model._meta.db_table for model, fields in masks if fields is None}
        masked = {field for _, fields in masks for field in fields or ()}
        found = []
        for table, column in source.execute(
            "SELECT t.name, c.name FROM sqlite_master AS t, pragma_table_xinfo(t.name) AS c "
            "WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite^_%' ESCAPE '^' "
            "AND t.name NOT IN ('django_migrations') ORDER BY t.name, c.cid"
        ):
            field = columns.get((table, column))
            owner, name = (field.model._meta.label, field.name) if field else (table, column)
            is_classed = field and (field in masked or is_key(field))
            if not (is_classed or table in left_out or name in settings.HARMLESS.get(owner, ())):
                found.append(f"{owner}.{name}")
        return found

    def copy(self, source, copy):
        (page_size,) = source.execute("PRAGMA page_size").fetchone()
        with tqdm(unit="B", unit_scale=True, disable=None) as bar:

            def progress(status, remaining, total):
                bar.total = total * page_size
                bar.update((total - remaining) * page_size - bar.n)

            source.backup(copy, pages=PAGES, progress=progress)
        # Keep no journal of the copy: it would contain pages that are not masked yet.
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
        """Replace the former snapshot by the new file, in one step, and make it read-only."""
        handle, new = mkstemp(dir=settings.SNAPSHOT.parent, prefix=f"{settings.SNAPSHOT.name}.")
        os.close(handle)
        try:
            # VACUUM leaves out free pages, and free space in pages, where old values still are.
            copy.execute("VACUUM INTO ?", [new])
            os.chmod(new, 0o444)
            size = os.path.getsize(new)
            os.replace(new, settings.SNAPSHOT)
        except BaseException:
            os.unlink(new)
            raise
        self.stdout.write(f"{settings.SNAPSHOT.name}: {size / 1e6:.1f} MB, read-only.")
