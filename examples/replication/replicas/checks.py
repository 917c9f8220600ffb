"""System checks of a project that uses this app: ``manage.py check`` runs them."""

from sys import modules

from django.apps import apps
from django.conf import settings
from django.core import mail
from django.core.checks import Error, Warning
from django.db import Error as DatabaseError
from django.db import connections, router
from django.utils.module_loading import import_string

from replicas import reading
from replicas.health import ADDRESS, same_entry
from replicas.positions import ask

SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
MIDDLEWARE = "replicas.consistency.ReadYourWritesMiddleware"
SHAPE = 'REPLICAS = {"default": ["replica1", "replica2"]}'
SECONDS = {"REPLICA_MAX_LAG": 60, "REPLICA_RETRY": 10}  # each setting, with a usual value
LABELS = {  # each setting, with its default
    "REPLICA_PRIMARY_APPS": '["auth", AUTH_USER_MODEL]',
    "REPLICA_UNNOTED_APPS": '["sessions"]',
}
IN_RECOVERY = """
    SELECT pg_is_in_recovery(), pg_has_role('pg_read_all_stats', 'USAGE')
"""
READ_ONLY = """
    SELECT @@read_only, @@log_bin, @@gtid_slave_pos, EXISTS (
        SELECT 1 FROM information_schema.user_privileges
        WHERE privilege_type IN ('READ_ONLY ADMIN', 'SUPER') AND grantee = CONCAT(
            '''', REPLACE(CURRENT_USER(), '@', '''@'''), ''''
        )
    )
"""


def replicas():
    """Yield the alias of each replica, with the alias of its primary."""
    for primary, aliases in settings.REPLICAS.items():
        for alias in aliases:
            yield alias, primary


def in_test_run():
    """Return whether this is a test run, in which ``MIRROR`` lets a replica use its primary."""
    return hasattr(mail, "outbox")


def shape_is_right():
    value = getattr(settings, "REPLICAS", None)
    return isinstance(value, dict) and all(
        isinstance(aliases, list | tuple) for aliases in value.values()
    )


def unknown_aliases():
    named = {alias for pair in replicas() for alias in pair} | set(settings.REPLICAS)
    return sorted(named - set(connections))


def check_replicas(**kwargs):
    """Check the setting ``REPLICAS``, and the entries in ``DATABASES`` that it names."""
    if not shape_is_right():
        return [
            Error(
                "REPLICAS is not a dict of lists.",
                hint=f"Write for each primary a list of its replicas, for example: {SHAPE}",
                id="replicas.E001",
            )
        ]
    if unknown := unknown_aliases():
        return [
            Error(
                f'REPLICAS names "{alias}", but DATABASES has no entry "{alias}".',
                hint=f'Add an entry "{alias}" to DATABASES, or remove the name from REPLICAS.',
                id="replicas.E002",
            )
            for alias in unknown
        ]
    return [message for pair in replicas() for message in about(*pair)] + [
        Warning(
            f'"{primary}" has ATOMIC_REQUESTS, so each view runs in a transaction on "{primary}", '
            "and reads from it instead of a replica.",
            hint=f'Remove ATOMIC_REQUESTS from DATABASES["{primary}"], and use '
            "transaction.atomic() in the views that need a transaction.",
            id="replicas.W010",
        )
        for primary in settings.REPLICAS
        if settings.REPLICAS[primary] and connections[primary].settings_dict["ATOMIC_REQUESTS"]
    ]


def about(alias, primary):
    """Yield the errors in the entry of a replica in ``DATABASES``."""
    its = connections[alias].settings_dict
    if its["TEST"]["MIRROR"] != primary:
        yield Error(
            f'In REPLICAS, "{alias}" is a replica of "{primary}", but in DATABASES it is not.',
            hint=f'Write in DATABASES["{alias}"]: "TEST": {{"MIRROR": "{primary}"}}',
            id="replicas.E003",
        )
    if same_entry(connections[alias], connections[primary]) and not in_test_run():
        yield Error(
            f'"{alias}" and "{primary}" are the same database: they have the same '
            f"{', '.join(ADDRESS)}.",
            hint=f'Write the address of the replica\'s own server in DATABASES["{alias}"]: "HOST" '
            'or "PORT", or in "OPTIONS": "target_session_attrs" or "service".',
            id="replicas.E004",
        )
    if its["ATOMIC_REQUESTS"]:
        yield Error(
            f'"{alias}" has ATOMIC_REQUESTS, so each view opens a transaction on "{alias}". All '
            "pages fail when this replica does not answer.",
            hint=f'Remove ATOMIC_REQUESTS from DATABASES["{alias}"].',
            id="replicas.E009",
        )


def places(path):
    """Return the indexes in ``MIDDLEWARE`` of this class, and of classes that inherit from it."""
    wanted = import_string(path)
    found = [import_string(name) for name in settings.MIDDLEWARE]
    return [
        place
        for place, item in enumerate(found)
        if isinstance(item, type) and issubclass(item, wanted)
    ]


def check_middleware(**kwargs):
    """Check that the middleware is there, and before the session middleware."""
    ours, sessions = places(MIDDLEWARE), places(SESSIONS)
    if not ours:
        return [
            Error(
                "No middleware opens a scope for each request, so all requests read from the "
                "primary.",
                hint=f'Add to MIDDLEWARE, before the session middleware: "{MIDDLEWARE}"',
                id="replicas.E005",
            )
        ]
    if sessions and sessions[0] < ours[0]:
        return [
            Error(
                "SessionMiddleware comes before ReadYourWritesMiddleware, so a session is saved "
                "after the scope of its request, and the write is not detected.",
                hint=f'Move "{MIDDLEWARE}" before "{SESSIONS}" in MIDDLEWARE.',
                id="replicas.E006",
            )
        ]
    return []


def check_routers(**kwargs):
    """Check that a router uses ``replicas.reading``: that the module of its class imports it."""
    classes = [cls for item in router.routers for cls in type(item).__mro__]
    if any(
        value is reading or value is reading.database
        for cls in classes
        for value in vars(modules[cls.__module__]).values()
    ):
        return []
    return [
        Warning(
            "No router uses replicas.reading. So either no replica is read from, or reads go to a "
            "replica that may lack the user's own write.",
            hint='Write DATABASE_ROUTERS = ["replicas.routers.ReplicaRouter"], or return '
            "replicas.reading.database() from db_for_read() of your own router.",
            id="replicas.W007",
        )
    ]


def check_position(**kwargs):
    """Check that the class in ``REPLICA_POSITION`` is for the engine of each database."""
    if not shape_is_right() or unknown_aliases():
        return []  # check_replicas() reports it
    path = getattr(settings, "REPLICA_POSITION", None)
    try:
        vendor = import_string(path).vendor
    except (ImportError, AttributeError, TypeError):
        return [
            Error(
                f"REPLICA_POSITION is not a class that reads the position of a database: {path!r}.",
                hint="Write the path of a class such as those in replicas/positions.py: "
                'REPLICA_POSITION = "replicas.positions.PostgresPosition"',
                id="replicas.E008",
            )
        ]
    return [
        Error(
            f'{path} is for {vendor}, but "{alias}" is on {connections[alias].vendor}.',
            hint="Set REPLICA_POSITION to the class in replicas/positions.py for this engine. If "
            "there is no such class, write a class with the same three methods.",
            id="replicas.E008",
        )
        for primary, aliases in settings.REPLICAS.items()
        for alias in (primary, *aliases)
        if connections[alias].vendor != vendor
    ]


def check_seconds(**kwargs):
    """Check the settings in seconds: each must be a number, 0 or more."""
    return [
        Error(
            f"{name} must be a number of seconds, 0 or more, not {value!r}.",
            hint=f"Write {name} = {example}",
            id="replicas.E013",
        )
        for name, example in SECONDS.items()
        if not isinstance(value := getattr(settings, name, None), int | float) or not value >= 0
    ]


def check_labels(**kwargs):
    """Check the settings with labels: each label must be the label of an app or of a model."""
    known = {model._meta.label_lower for model in apps.get_models()}
    known |= {config.label.lower() for config in apps.get_app_configs()}
    messages = []
    for name, example in LABELS.items():
        value = getattr(settings, name, [])
        if not isinstance(value, list | tuple | set):
            messages.append(
                Error(
                    f"{name} must be a list, not {value!r}.",
                    hint=f"Write {name} = {example}",
                    id="replicas.E014",
                )
            )
            continue
        messages += [
            Error(
                f"{name} names {label!r}, but INSTALLED_APPS has no app and no model with this "
                "label. The name has no effect.",
                hint='Write the label of an app, such as "auth", or of a model, such as '
                '"auth.User". The label of the app "django.contrib.auth" is its last word, "auth".',
                id="replicas.E014",
            )
            for label in value
            if str(label).lower() not in known
        ]
    return messages


def check_servers(databases=None, **kwargs):
    """Check the servers of ``databases``, by asking them."""
    if not shape_is_right() or unknown_aliases():
        return []
    messages = []
    for alias in databases or []:
        connection = connections[alias]
        about_server = ABOUT_SERVERS.get(connection.vendor)
        if about_server is None or alias not in {name for pair in replicas() for name in pair}:
            continue
        try:
            messages += about_server(alias, connection)
        except DatabaseError:
            continue  # a server that does not answer cannot be checked, and the log reports it
    return messages


def about_postgres(alias, connection):
    """Yield the errors in the configuration of a PostgreSQL server."""
    if alias not in dict(replicas()):
        return
    in_recovery, sees_receiver = ask(connection, IN_RECOVERY)
    if not in_recovery and not in_test_run():
        yield Error(
            f'"{alias}" is in REPLICAS, but its server is not a standby: it accepts writes, and '
            "replays no log.",
            hint=f'Set HOST and PORT in DATABASES["{alias}"] to the address of a standby.',
            id="replicas.E012",
        )
    elif in_recovery and not sees_receiver:
        user = connection.settings_dict["USER"]
        yield Warning(
            f'The user of "{alias}" may not read when the last message from the primary arrived. '
            "While the primary has no writes, the replica soon counts as too far behind.",
            hint=f'Run on the primary: GRANT pg_read_all_stats TO "{user}"',
            id="replicas.W011",
        )


def about_mariadb(alias, connection):
    """Yield the errors in the configuration of a MariaDB server."""
    if not connection.mysql_is_mariadb:
        yield Error(
            f'"{alias}" is on MySQL, and MySQL has other positions than MariaDB.',
            hint="Write a class like those in replicas/positions.py, with the same three methods.",
            id="replicas.E015",
        )
        return
    read_only, logs, applied, may_write = ask(connection, READ_ONLY)
    if alias not in dict(replicas()):
        if not logs:
            yield Warning(
                f'The server of "{alias}" writes no binary log. So no replica can follow it, and '
                "after a write a user reads from it for twice REPLICA_MAX_LAG.",
                hint="Start the server with log_bin.",
                id="replicas.W016",
            )
        return
    if in_test_run():
        return
    if not (read_only and applied):
        yield Error(
            f'"{alias}" is in REPLICAS, but '
            + ("has applied nothing by GTID." if read_only else "its server is not read_only."),
            hint=f'Set HOST and PORT in DATABASES["{alias}"] to the address of a replica that has '
            "read_only = 1, and that was started by CHANGE MASTER TO …, MASTER_USE_GTID = "
            "slave_pos.",
            id="replicas.E012",
        )
    if may_write:
        yield Warning(
            f'The user of "{alias}" may write to this replica, although its server is read_only.',
            hint="Use a user other than root, or run REVOKE READ_ONLY ADMIN, SUPER ON *.* FROM the "
            "user.",
            id="replicas.W017",
        )


ABOUT_SERVERS = {"postgresql": about_postgres, "mysql": about_mariadb}
