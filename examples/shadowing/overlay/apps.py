from io import StringIO

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import Tags, register
from django.core.management import call_command
from django.db import connections
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate

from overlay import checks, reading


def has_snapshot():
    return settings.SNAPSHOT_DATABASE in settings.DATABASES


def leave_out_constraints(connection, **kwargs):
    """Make ``migrate`` create the local tables without foreign keys.

    Their rows may refer to rows of the snapshot. This function is for a local database on a server.
    On SQLite the engine ``attached`` does the same.
    """
    if connection.alias != settings.LOCAL_DATABASE or not has_snapshot():
        return
    connection.features.supports_foreign_keys = False
    if connection.vendor == "mysql":
        connection.SchemaEditorClass = indexing(type(connection).SchemaEditorClass)


def indexing(editor):
    """Return a schema editor class that also indexes foreign keys.

    On MariaDB, Django makes no such index, because a foreign key's constraint makes one.
    """

    def should_be_indexed(self, model, field):
        plain = BaseDatabaseSchemaEditor if field.is_relation else editor
        return plain._field_should_be_indexed(self, model, field)

    return type(editor.__name__, (editor,), {"_field_should_be_indexed": should_be_indexed})


def make_tables(using, **kwargs):
    """Make the tables of the local rows, or add the columns that are missing."""
    if make := getattr(connections[using], "make_overlay", None):
        make()


def take_keys(using, **kwargs):
    """Copy the snapshot's rows, with their keys, into the tables that ``migrate`` fills.

    Other rows of the snapshot refer to these rows by key. A table that already has rows is left as
    it is, because other local rows may refer to them; ``checks`` reports the differences.
    """
    if using != settings.LOCAL_DATABASE or not has_snapshot():
        return
    # Imported here, because this command needs the package tqdm.
    from overlay.management.commands.shadow import columns_in

    for label in checks.shadowed_by_migrate():
        model = checks.model_of(label)
        columns = {field.column for field in model._meta.concrete_fields}
        aliases = using, settings.SNAPSHOT_DATABASE
        is_made = all(columns_in(alias, model) == columns for alias in aliases)
        if is_made and not model._base_manager.using(using).exists():
            call_command("shadow", label, stdout=StringIO())


# Connected here, and not in `ready()`, to run before `contenttypes` and `auth` fill their tables.
post_migrate.connect(take_keys)


class OverlayConfig(AppConfig):
    name = "overlay"

    def ready(self):
        checks.require_settings()
        reading.find_what_exists()
        connection_created.connect(leave_out_constraints)
        post_migrate.connect(make_tables, sender=self)
        register(checks.check_settings)
        register(checks.check_databases, Tags.database)
