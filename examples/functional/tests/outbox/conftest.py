import pytest

#: What the receiver below was called with, and what it raises for a body.
applied, errors = [], {}


def receive(message):
    applied.append((message.key, message.number, message.body))
    if message.body in errors:
        raise errors[message.body]


@pytest.fixture(autouse=True)
def receiver(settings):
    """A topic whose receiver only notes its calls. Return the list of (key, number, body)."""
    applied.clear(), errors.clear()
    path = f"{__name__}.receive"
    settings.OUTBOX_RECEIVERS = settings.OUTBOX_RECEIVERS | {"notes": ("reviews", path)}
    return applied


@pytest.fixture
def fails():
    """A dict: for these bodies the receiver raises this error."""
    return errors
