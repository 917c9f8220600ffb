"""System checks for a project that has copied this app."""

from django.conf import settings
from django.core.checks import Error
from django.db import Error as DatabaseError
from django.db import connections, router

from outbox import conf
from outbox.models import Message, Received, Stream

HINT = (
    'For example: OUTBOX_SOURCES = ["default"] and '
    'OUTBOX_RECEIVERS = {"notes": ("other", "notes.receiving.receive")}'
)


def check_settings(**kwargs):
    """Check that the settings name databases and functions that exist."""
    receivers = getattr(settings, "OUTBOX_RECEIVERS", {})
    if not conf.sources() or not receivers:
        yield Error(
            "OUTBOX_SOURCES and OUTBOX_RECEIVERS must not be empty.", hint=HINT, id="outbox.E001"
        )
    for topic, value in receivers.items():
        if not conf.is_pair(value):
            yield Error(
                f"OUTBOX_RECEIVERS[{topic!r}] must be an alias and the path of a function, "
                f"not {value!r}.",
                hint=HINT,
                id="outbox.E002",
            )
            return
        try:
            function = conf.receiver(topic)
        except ImportError as error:
            yield Error(f"OUTBOX_RECEIVERS[{topic!r}]: {error}.", id="outbox.E003")
        else:
            if not callable(function):
                yield Error(
                    f"OUTBOX_RECEIVERS[{topic!r}]: {value[1]} is not a function.", id="outbox.E003"
                )
    lower = [topic.lower() for topic in conf.receivers()]
    if len(set(lower)) < len(lower):
        yield Error(
            "Two topics in OUTBOX_RECEIVERS differ only in upper and lower case.",
            hint="MariaDB and MySQL would take them for the same topic.",
            id="outbox.E004",
        )
    for name, aliases in [("OUTBOX_SOURCES", conf.sources()), ("OUTBOX_RECEIVERS", conf.targets())]:
        for alias in aliases:
            if alias not in settings.DATABASES:
                yield Error(
                    f'{name} names "{alias}", which DATABASES does not have.', id="outbox.E005"
                )
    for name, value in [("OUTBOX_TRIES", conf.tries()), ("OUTBOX_KEEP_DAYS", conf.keep_days())]:
        least = 1 if name == "OUTBOX_TRIES" else 0
        if not isinstance(value, int) or value < least:
            yield Error(
                f"{name} must be a whole number of at least {least}, not {value!r}.",
                id="outbox.E006",
            )


def check_router(**kwargs):
    """Check that the routers put the tables into each database that sends or receives."""
    if any(check_settings()):
        return
    for alias in dict.fromkeys([*conf.sources(), *conf.targets()]):
        if not all(
            router.allow_migrate_model(alias, model) for model in (Stream, Message, Received)
        ):
            yield Error(
                f'The routers do not allow the tables of the outbox in "{alias}".',
                hint='Write "outbox.routers.OutboxRouter" first in DATABASE_ROUTERS.',
                id="outbox.E007",
            )


def missing(alias):
    """Return a sentence about a database without the tables, or an empty string."""
    try:
        tables = connections[alias].introspection.table_names()
    except DatabaseError:
        return ""
    if Message._meta.db_table in tables:
        return ""
    return (
        f" {alias} has no tables of the outbox. Run: python manage.py migrate outbox "
        f"--database={alias}. If that applies no migration, first run it with: outbox zero --fake."
    )
