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
    """Have the local tables made without foreign keys: what they refer to may be in the snapshot.

    On a server, by Django's own engine. On SQLite ``attached`` does it.
    """
    if connection.alias != settings.LOCAL_DATABASE or not has_snapshot():
        return
    connection.features.supports_foreign_keys = False
    if connection.vendor == "mysql":
        connection.SchemaEditorClass = indexing(type(connection).SchemaEditorClass)


def indexing(editor):
    """Return a class of schema editors that makes the index which Django leaves to a constraint."""

    def should_be_indexed(self, model, field):
        plain = BaseDatabaseSchemaEditor if field.is_relation else editor
        return plain._field_should_be_indexed(self, model, field)

    return type(editor.__name__, (editor,), {"_field_should_be_indexed": should_be_indexed})


def make_tables(using, **kwargs):
    """Make the tables that hold the local rows, or give them the columns that they lack."""
    if make := getattr(connections[using], "make_overlay", None):
        make()


def take_keys(using, **kwargs):
    """Give the tables that ``migrate`` fills by itself the snapshot's rows, and so its keys.

    Rows of the snapshot refer to these by key. Where there are local rows already, nothing is done:
    others may refer to them, and ``checks`` says what differs.
    """
    if using != settings.LOCAL_DATABASE or not has_snapshot():
        return
    from overlay.management.commands.shadow import columns_in  # here: a command needs tqdm

    for label in checks.shadowed_by_migrate():
        model = checks.model_of(label)
        columns = {field.column for field in model._meta.concrete_fields}
        aliases = using, settings.SNAPSHOT_DATABASE
        is_made = all(columns_in(alias, model) == columns for alias in aliases)
        if is_made and not model._base_manager.using(using).exists():
            call_command("shadow", label, stdout=StringIO())


# Here, and not in `ready()`: before `contenttypes` and `auth` connect what fills their tables.
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
