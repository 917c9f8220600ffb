from contextlib import closing

from django.apps import apps
from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.core.management.color import no_style
from django.db import connections, transaction
from django.db.models import NOT_PROVIDED
from tqdm import tqdm

from overlay.errors import errors_in_one_line
from overlay.routers import is_shadowed

BATCH = 5_000  # rows in memory


def columns_in(alias, model):
    """Return the set of a table's column names. The set is empty if there is no table."""
    table, connection = model._meta.db_table, connections[alias]
    with connection.cursor() as cursor:
        if table not in connection.introspection.table_names(cursor):
            return set()
        described = connection.introspection.get_table_description(cursor, table)
    return {column.name for column in described}


class Command(BaseCommand):
    help = (
        "Copy the snapshot's rows of shadowed models into their local tables. A column that is not "
        "in the snapshot is filled with its default."
    )

    def add_arguments(self, parser):
        parser.add_argument("models", nargs="+", metavar="app.Model")
        parser.add_argument("--replace", action="store_true", help="delete the local rows first")

    def handle(self, *, models, replace, **options):
        models = [self.model_of(label) for label in models]
        with errors_in_one_line(), transaction.atomic(settings.LOCAL_DATABASE):
            for model in models:
                self.shadow(model, replace)

    def model_of(self, label):
        try:
            model = apps.get_model(label)
        except (LookupError, ValueError):
            raise CommandError(f"There is no model {label}.") from None
        if not is_shadowed(model):
            raise CommandError(f"{model._meta.label} is not shadowed: name it in SHADOWED.")
        return model

    def shadow(self, model, replace):
        local = connections[settings.LOCAL_DATABASE]
        if model._meta.db_table not in local.introspection.table_names():
            raise CommandError(
                f'Database "{local.alias}" has no table {model._meta.db_table}. '
                f"Run: python manage.py migrate --database={local.alias}"
            )
        there = columns_in(settings.SNAPSHOT_DATABASE, model)
        if not there:
            raise CommandError(
                f"The snapshot has no table of {model._meta.label}: there is nothing to copy."
            )
        kept, new = [], []
        for field in model._meta.local_concrete_fields:
            if field.column in there:
                kept.append(field)
            elif getattr(field, "db_default", NOT_PROVIDED) is NOT_PROVIDED:
                new.append(field)  # otherwise the database fills in the default
        for field in new:
            if not field.null and field.get_default() is None:
                raise CommandError(
                    f"{model._meta.label}.{field.name} is not in the snapshot, and has no value "
                    "for its rows. Give the field a default, or null=True."
                )
        table = local.ops.quote_name(model._meta.db_table)
        fields = kept + new
        columns = ", ".join(local.ops.quote_name(field.column) for field in fields)
        insert = f"INSERT INTO {table} ({columns}) VALUES ({', '.join(['%s'] * len(fields))})"
        source = model._base_manager.using(settings.SNAPSHOT_DATABASE)
        names = [field.attname for field in kept]

        def rows():
            for values in source.values_list(*names).iterator(BATCH):
                values += tuple(field.get_default() for field in new)
                yield [
                    field.get_db_prep_save(value, local)
                    for field, value in zip(fields, values, strict=True)
                ]

        with local.cursor() as cursor, closing(rows()) as copied:
            if replace:
                cursor.execute(f"DELETE FROM {table}")
            elif model._base_manager.using(local.alias).exists():
                raise CommandError(
                    f"{model._meta.label} already has local rows. To delete them first, add "
                    "--replace."
                )
            total, unit = source.count(), model._meta.verbose_name
            # Not bulk_create(), because it would set each auto_now field to the present time.
            cursor.executemany(insert, tqdm(copied, total=total, unit=unit, disable=None))
            # On PostgreSQL, an INSERT that contains the key does not advance the sequence.
            for statement in local.ops.sequence_reset_sql(no_style(), [model]):
                cursor.execute(statement)
        line = f"{model._meta.label}: {total} rows"
        if new:
            line += f". Filled with the default: {', '.join(f.name for f in new)}"
        self.stdout.write(line + ".")
