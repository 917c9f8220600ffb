from django.apps import AppConfig
from django.core.checks import Error, Tags, register
from django.db import OperationalError, connections
from django.db.models.signals import post_migrate


def make_tables(using, **kwargs):
    """Make the tables that hold the local rows, or give them the columns that they lack."""
    if make := getattr(connections[using], "make_overlay", None):
        make()


@register(Tags.database)
def check_snapshot(databases=None, **kwargs):
    """What ``migrate`` asks before it begins: whether there is a snapshot, fit to be overlaid."""
    for alias in databases or []:
        if hasattr(connections[alias], "make_overlay"):
            try:
                connections[alias].ensure_connection()
            except OperationalError as error:
                return [Error(str(error), id="overlay.E001")]
    return []


class OverlayConfig(AppConfig):
    name = "overlay"

    def ready(self):
        post_migrate.connect(make_tables, sender=self)
