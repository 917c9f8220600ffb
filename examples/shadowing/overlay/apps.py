from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db import connections
from django.db.models.signals import post_migrate

from overlay import checks


def make_tables(using, **kwargs):
    """Make the tables that hold the local rows, or give them the columns that they lack."""
    if make := getattr(connections[using], "make_overlay", None):
        make()


class OverlayConfig(AppConfig):
    name = "overlay"

    def ready(self):
        checks.require_settings()
        post_migrate.connect(make_tables, sender=self)
        register(checks.check_settings)
        register(checks.check_databases, Tags.database)
