"""Entries of ``DATABASES``: an empty ``default``, and ``MIRROR``."""

from django.core.checks import Error, Warning
from django.db import DEFAULT_DB_ALIAS, connections

from multidb_checks.answers import Routing, entry, is_dummy, labels, mirrored

#: The keys that lead to a server. The test runner does not copy them to a replica.
ADDRESS = ("HOST", "PORT")
OPTIONS = ("host", "port", "service", "unix_socket", "read_default_file", "read_default_group")


def check_empty(**kwargs):
    """Check the models and the commands that use an empty entry."""
    routing = Routing()
    for alias in filter(is_dummy, connections):
        models = [
            model
            for model in routing.models
            if alias in routing.read[model].aliases | routing.write[model].aliases
        ]
        if models:
            yield Error(
                f'DATABASES["{alias}"] is empty, but queries of {labels(models)} go there. Each '
                'fails with "Please supply the ENGINE value."',
                hint=f"Return another alias from the routers for these models, or fill in "
                f'DATABASES["{alias}"].',
                id="multidb.E015",
            )
        elif alias == DEFAULT_DB_ALIAS:
            yield Warning(
                'DATABASES["default"] is empty. Commands without --database, such as migrate and '
                'loaddata, and transaction.atomic() without using= fail with "Please supply the '
                'ENGINE value."',
                hint='Give the database that most models use the alias "default". Or name a '
                "database each time, and silence this warning.",
                id="multidb.W016",
            )


def check_mirrors(**kwargs):
    """Check that tests use the primary, where ``MIRROR`` names one."""
    for alias in connections:
        mirror = entry(alias)["TEST"]["MIRROR"]
        if not mirror:
            continue
        if mirror not in set(connections):
            yield Error(
                f'"MIRROR" of DATABASES["{alias}"] is "{mirror}", but DATABASES has no entry '
                f'"{mirror}".',
                hint="Write the alias of the primary.",
                id="multidb.E018",
            )
        elif differing := different(alias, mirrored(alias)):
            yield Warning(
                f'"{alias}" is a MIRROR of "{mirror}" on another server: {", ".join(differing)} '
                "differ. In tests, MIRROR copies only the NAME. So tests read from the server of "
                f'"{alias}".',
                hint=f"In the settings for tests, write the {' and '.join(differing)} of "
                f'"{mirror}" for "{alias}". If this is not a settings file for tests, silence '
                "this warning in it.",
                id="multidb.W017",
            )


def different(alias, primary):
    """Return the keys in which the two entries lead to different servers."""
    its, theirs = entry(alias), entry(primary)
    return [key for key in ADDRESS if str(its[key]) != str(theirs[key])] + [
        f'OPTIONS["{key}"]'
        for key in OPTIONS
        if its["OPTIONS"].get(key) != theirs["OPTIONS"].get(key)
    ]
