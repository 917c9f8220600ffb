from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


def make_tables(using, **kwargs):
    """Make the tables that hold the local rows, or give them the columns that they lack."""
    if make := getattr(connections[using], "make_overlay", None):
        make()


class OverlayConfig(AppConfig):
    name = "overlay"

    def ready(self):
        post_migrate.connect(make_tables, sender=self)
