from math import isfinite

from django.core.management import CommandError


def seconds(option, text):
    """Return the seconds that an option names. Raises CommandError for anything else."""
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not (isfinite(number) and number >= 0):
        raise CommandError(f"{option} must be a number of seconds, 0 or more, not {text}.")
    return number
