from collections import Counter

from django.apps import apps
from django.core.exceptions import ValidationError
from django.core.management import BaseCommand, CommandError
from django.db import router, transaction

from overlay import export
from overlay.errors import errors_in_one_line
from overlay.rows import differences, discard, is_overlaid, keep, overlaid_models, overlaid_table

LINE = "{:<24} {:>7} {:>8} {:>8} {:>10}"
SIGNS = {"added": "+", "changed": "~", "deleted": "-"}


class Command(BaseCommand):
    help = "Show, export, keep or discard the local rows that differ from the snapshot."

    def add_arguments(self, parser):
        actions = parser.add_subparsers(dest="action", required=True, metavar="action")
        of_model = {"nargs": "?", "metavar": "model", "help": "such as auth.User; default: all"}
        of_keys = {"nargs": "*", "metavar": "key", "help": "keys of rows; default: all"}
        actions.add_parser("status", help="show how many rows differ, a line for each table")
        diff = actions.add_parser("diff", help="show what differs, row by row")
        diff.add_argument("model", **of_model)
        carry = actions.add_parser(
            "export",
            help="print what differs, as SQL or as a fixture, to carry to production by hand. The "
            "models are in the order of OVERLAID: name a model after the models that it refers to",
        )
        carry.add_argument("model", **of_model)
        carry.add_argument("--format", choices=["fixture", "sql"], default="sql")
        settle = actions.add_parser("keep", help="settle conflicts: keep the local rows")
        forget = actions.add_parser("discard", help="delete the local rows")
        for parser in settle, forget:
            parser.add_argument("model", **of_model)
            parser.add_argument("keys", **of_keys)
        forget.add_argument("--no-input", action="store_true", help="don't ask for confirmation")

    def handle(self, *, action, model=None, keys=None, **options):
        with errors_in_one_line():
            models = [self.model(model)] if model else overlaid_models()
            if not models:
                raise CommandError("The setting OVERLAID names no model.")
            for each in models:
                overlaid_table(each)
            keys = self.keys(models[0], keys) if keys else None
            getattr(self, action)(models, keys=keys, **options)

    def model(self, label):
        try:
            model = apps.get_model(label)
        except (LookupError, ValueError):
            raise CommandError(
                f'There is no model "{label}". Name a model, such as "auth.User".'
            ) from None
        if not is_overlaid(model):
            names = ", ".join(model._meta.label for model in overlaid_models())
            raise CommandError(
                f"{model._meta.label} is not overlaid. Overlaid models: {names or 'none'}."
            )
        return model

    def keys(self, model, keys):
        try:
            keys = [model._meta.pk.to_python(key) for key in keys]
        except ValidationError as error:
            raise CommandError(f"Keys of {model._meta.label}: {' '.join(error.messages)}") from None
        unknown = set(keys) - {row.key for row in differences(model)}
        if unknown:
            listed = ", ".join(map(str, sorted(unknown)))
            raise CommandError(
                f"{model._meta.label}: no difference from the snapshot has the key {listed}."
            )
        return keys

    def status(self, models, **options):
        self.stdout.write(LINE.format("model", "added", "changed", "deleted", "conflicts"))
        for model in models:
            rows = differences(model)
            kinds = Counter(row.kind for row in rows)
            conflicts = sum(bool(row.conflict) for row in rows)
            self.stdout.write(
                LINE.format(model._meta.label, *(kinds[kind] for kind in SIGNS), conflicts)
            )

    def diff(self, models, **options):
        for model in models:
            for row in differences(model):
                self.stdout.write(f"{SIGNS[row.kind]} {model._meta.label} {row.key} {row.kind}")
                if row.conflict:
                    self.stdout.write(self.style.WARNING(f"    CONFLICT: {row.conflict}"))
                for name, values in row.fields.items():
                    self.stdout.write(f"    {name}: {self.describe(row, values)}")

    def describe(self, row, values):
        if row.kind == "added":
            text = repr_of(values.here)
        elif row.kind == "deleted":
            text = repr_of(values.base)
        else:
            text = f"{repr_of(values.base)} -> {repr_of(values.here)}"
        if row.conflict and values.snapshot != values.base:
            text += f" (in the newer snapshot: {repr_of(values.snapshot)})"
        return text

    def export(self, models, format, **options):
        if format == "sql":
            for line in export.sql(models):
                self.stdout.write(line)
            return
        deleted = sum(row.kind == "deleted" for model in models for row in differences(model))
        if deleted:
            self.stderr.write(f"A fixture can't delete rows. Deleted here: {deleted} rows.")
        self.stdout.write(export.fixture(models), ending="")

    def keep(self, models, keys=None, **options):
        self.stdout.write(f"Kept: {sum(keep(model, keys) for model in models)} rows.")

    def discard(self, models, keys=None, no_input=False, **options):
        count = sum(len(keys or differences(model)) for model in models)
        if not no_input:
            names = ", ".join(model._meta.label for model in models)
            try:
                answer = input(f"Discard {count} rows of {names}? [y/N] ")
            except EOFError:
                raise CommandError(
                    "There is no answer to read. To discard without a question, add --no-input."
                ) from None
            if answer.lower() not in ("y", "yes"):
                raise CommandError("Nothing was discarded.")
        # All overlaid models are in one database, so one transaction is enough.
        with transaction.atomic(router.db_for_write(models[0])):
            for model in models:
                discard(model, keys)
        self.stdout.write(f"Discarded: {count} rows.")


def repr_of(value):
    return "NULL" if value is None else str(value)
