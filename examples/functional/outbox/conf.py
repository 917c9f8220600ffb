"""The settings, with their defaults."""

from django.conf import settings
from django.utils.module_loading import import_string


def sources():
    """Return the aliases of the databases that send."""
    return list(getattr(settings, "OUTBOX_SOURCES", []))


def receivers():
    """Return ``{topic: (alias of the database that receives, dotted path of the function)}``.

    A value that is not a pair is left out. A system check reports it.
    """
    found = getattr(settings, "OUTBOX_RECEIVERS", {})
    return {topic: pair for topic, pair in found.items() if is_pair(pair)}


def is_pair(value):
    return isinstance(value, (tuple, list)) and [*map(type, value)] == [str, str]


def targets():
    """Return the aliases of the databases that receive, each once."""
    return list(dict.fromkeys(alias for alias, _ in receivers().values()))


def topics(target):
    """Return the topics whose messages go to the database ``target``."""
    return [topic for topic, (alias, _) in receivers().items() if alias == target]


def receiver(topic):
    """Return the function that applies the messages of a topic."""
    return import_string(receivers()[topic][1])


def tries():
    """Return how often a receiver may fail before its message is set aside."""
    return getattr(settings, "OUTBOX_TRIES", 10)


def keep_days():
    """Return for how many days a message is kept after its delivery."""
    return getattr(settings, "OUTBOX_KEEP_DAYS", 7)
