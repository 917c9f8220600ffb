"""What a project that has copied this app may have forgotten: ``manage.py check`` says it."""

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
SECONDS = {"REPLICA_MAX_LAG": 60, "REPLICA_RETRY": 10}  # the settings, with a usual value
LABELS = {  # the settings, with their default
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
    """Yield the alias of each replica, with that of its primary."""
    for primary, aliases in settings.REPLICAS.items():
        for alias in aliases:
            yield alias, primary


def in_test_run():
    """Tell whether each replica is its primary by another name, which ``MIRROR`` is for."""
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
    """Check the setting ``REPLICAS``, and what ``DATABASES`` has about those that it names."""
    if not shape_is_right():
        return [
            Error(
                "REPLICAS is not a dict of lists.",
                hint=f"Write the replicas by the alias of their primary: {SHAPE}",
                id="replicas.E001",
            )
        ]
    if unknown := unknown_aliases():
        return [
            Error(
                f'REPLICAS names "{alias}", which is no database.',
                hint=f'Give DATABASES an entry "{alias}", or take the name out of REPLICAS.',
                id="replicas.E002",
            )
            for alias in unknown
        ]
    return [message for pair in replicas() for message in about(*pair)] + [
        Warning(
            f'"{primary}" has ATOMIC_REQUESTS: each view is a transaction on it, and reads there.',
            hint=f'Take it out of DATABASES["{primary}"], and use transaction.atomic() where a '
            "view needs it.",
            id="replicas.W010",
        )
        for primary in settings.REPLICAS
        if settings.REPLICAS[primary] and connections[primary].settings_dict["ATOMIC_REQUESTS"]
    ]


def about(alias, primary):
    """Yield what is wrong with the entry of a replica in ``DATABASES``."""
    its = connections[alias].settings_dict
    if its["TEST"]["MIRROR"] != primary:
        yield Error(
            f'"{alias}" does not say that it is a replica of "{primary}".',
            hint=f'Write in DATABASES["{alias}"]: "TEST": {{"MIRROR": "{primary}"}}',
            id="replicas.E003",
        )
    if same_entry(connections[alias], connections[primary]) and not in_test_run():
        yield Error(
            f'"{alias}" can\'t be told from "{primary}": its {", ".join(ADDRESS)} are the same.',
            hint=f'Write the replica\'s own server in DATABASES["{alias}"]: "HOST" or "PORT", or '
            'what finds it, in "OPTIONS": "target_session_attrs" or "service".',
            id="replicas.E004",
        )
    if its["ATOMIC_REQUESTS"]:
        yield Error(
            f'"{alias}" has ATOMIC_REQUESTS: without this replica no page would be answered.',
            hint=f'Take it out of DATABASES["{alias}"].',
            id="replicas.E009",
        )


def places(path):
    """Return where in ``MIDDLEWARE`` this class is, or one that inherits from it."""
    wanted = import_string(path)
    found = [import_string(name) for name in settings.MIDDLEWARE]
    return [
        place
        for place, item in enumerate(found)
        if isinstance(item, type) and issubclass(item, wanted)
    ]


def check_middleware(**kwargs):
    """Check that the middleware is there, and before that of the sessions."""
    ours, sessions = places(MIDDLEWARE), places(SESSIONS)
    if not ours:
        return [
            Error(
                "No middleware opens a scope for a request: all of them read from the primary.",
                hint=f'Write in MIDDLEWARE, before that of the sessions: "{MIDDLEWARE}"',
                id="replicas.E005",
            )
        ]
    if sessions and sessions[0] < ours[0]:
        return [
            Error(
                "The middleware of the sessions stands before ReadYourWritesMiddleware, which "
                "does not notice then that a session is saved.",
                hint=f'Move "{MIDDLEWARE}" before "{SESSIONS}" in MIDDLEWARE.',
                id="replicas.E006",
            )
        ]
    return []


def check_routers(**kwargs):
    """Check that a router asks ``replicas.reading``: that the module of its class imports it."""
    classes = [cls for item in router.routers for cls in type(item).__mro__]
    if any(
        value is reading or value is reading.database
        for cls in classes
        for value in vars(modules[cls.__module__]).values()
    ):
        return []
    return [
        Warning(
            "No router asks replicas.reading: so no replica is read from, or one that may lack the "
            "reader's own write.",
            hint='Write DATABASE_ROUTERS = ["replicas.routers.ReplicaRouter"], or return '
            "replicas.reading.database() from db_for_read() of your own router.",
            id="replicas.W007",
        )
    ]


def check_position(**kwargs):
    """Check that the class of ``REPLICA_POSITION`` is for the engine of each database."""
    if not shape_is_right() or unknown_aliases():
        return []  # said above
    path = getattr(settings, "REPLICA_POSITION", None)
    try:
        vendor = import_string(path).vendor
    except (ImportError, AttributeError, TypeError):
        return [
            Error(
                f"REPLICA_POSITION is no class that knows how far a database has come: {path!r}.",
                hint="Write the path of a class like those of replicas/positions.py: "
                'REPLICA_POSITION = "replicas.positions.PostgresPosition"',
                id="replicas.E008",
            )
        ]
    return [
        Error(
            f'{path} is for {vendor}, and "{alias}" is on {connections[alias].vendor}.',
            hint="Set REPLICA_POSITION to the class of replicas/positions.py for that engine. If "
            "there is none, write one: it has three methods.",
            id="replicas.E008",
        )
        for primary, aliases in settings.REPLICAS.items()
        for alias in (primary, *aliases)
        if connections[alias].vendor != vendor
    ]


def check_seconds(**kwargs):
    """Check the settings that are seconds: each a number, 0 or more."""
    return [
        Error(
            f"{name} is no number of seconds, 0 or more: {value!r}.",
            hint=f"Write {name} = {example}",
            id="replicas.E013",
        )
        for name, example in SECONDS.items()
        if not isinstance(value := getattr(settings, name, None), int | float) or not value >= 0
    ]


def check_labels(**kwargs):
    """Check the settings that are labels: each that of an app, or of a model."""
    known = {model._meta.label_lower for model in apps.get_models()}
    known |= {config.label.lower() for config in apps.get_app_configs()}
    messages = []
    for name, example in LABELS.items():
        value = getattr(settings, name, [])
        if not isinstance(value, list | tuple | set):
            messages.append(
                Error(
                    f"{name} is not a list: {value!r}.",
                    hint=f"Write {name} = {example}",
                    id="replicas.E014",
                )
            )
            continue
        messages += [
            Error(
                f"{name} names {label!r}, which is no app and no model of INSTALLED_APPS: so it "
                "has no effect.",
                hint='Write the label of an app, "auth", or of a model, "auth.User". The label of '
                'the app "django.contrib.auth" is its last word.',
                id="replicas.E014",
            )
            for label in value
            if str(label).lower() not in known
        ]
    return messages


def check_servers(databases=None, **kwargs):
    """Ask the servers among ``databases`` what only they know."""
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
            continue  # a server that is away has no settings to be wrong: the log says it
    return messages


def about_postgres(alias, connection):
    """Yield what is wrong with a PostgreSQL server."""
    if alias not in dict(replicas()):
        return
    in_recovery, sees_receiver = ask(connection, IN_RECOVERY)
    if not in_recovery and not in_test_run():
        yield Error(
            f'"{alias}" is in REPLICAS, and is no standby: it takes writes, and replays nothing.',
            hint=f'Let HOST and PORT of DATABASES["{alias}"] name a standby.',
            id="replicas.E012",
        )
    elif in_recovery and not sees_receiver:
        user = connection.settings_dict["USER"]
        yield Warning(
            f'"{alias}" may not see when its server last heard from the primary: when nobody '
            "writes, it soon counts as too far behind.",
            hint=f'On the primary: GRANT pg_read_all_stats TO "{user}"',
            id="replicas.W011",
        )


def about_mariadb(alias, connection):
    """Yield what is wrong with a MariaDB server."""
    if not connection.mysql_is_mariadb:
        yield Error(
            f'"{alias}" is on MySQL, whose positions are others than those of MariaDB.',
            hint="Write a class like those of replicas/positions.py: it has three methods.",
            id="replicas.E015",
        )
        return
    read_only, logs, applied, may_write = ask(connection, READ_ONLY)
    if alias not in dict(replicas()):
        if not logs:
            yield Warning(
                f'The server of "{alias}" writes no binary log: no replica follows it, and whoever '
                "has written reads from it for long.",
                hint="Start the server with log_bin.",
                id="replicas.W016",
            )
        return
    if in_test_run():
        return
    if not (read_only and applied):
        yield Error(
            f'"{alias}" is in REPLICAS, and '
            + ("has applied nothing by GTID." if read_only else "its server is not read_only."),
            hint=f'Let HOST and PORT of DATABASES["{alias}"] name a replica, with read_only = 1, '
            "which follows by CHANGE MASTER TO …, MASTER_USE_GTID = slave_pos.",
            id="replicas.E012",
        )
    if may_write:
        yield Warning(
            f'The user of "{alias}" may write to it, though its server is read_only.',
            hint="Use another user than root: REVOKE READ_ONLY ADMIN, SUPER ON *.* from it.",
            id="replicas.W017",
        )


ABOUT_SERVERS = {"postgresql": about_postgres, "mysql": about_mariadb}
