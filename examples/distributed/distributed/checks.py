"""System checks for a project that has copied this app."""

from django.apps import apps
from django.conf import settings
from django.core.checks import Error, Warning
from django.db import DatabaseError, InterfaceError, connections, router
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import AutoField

from distributed.engines import ENGINES, add_guard
from distributed.tables import distributed, has_guard

BACKENDS = {vendor: f"distributed.{vendor}" for vendor in ENGINES}


def nodes_are_right():
    return bool(settings.NODES) and not any(found.is_serious() for found in check_nodes())


def check_nodes(**kwargs):
    """Check that ``NODES`` and ``COORDINATOR`` name databases that can work together."""
    coordinator = settings.COORDINATOR
    named = [("COORDINATOR", coordinator), *(("NODES", alias) for alias in settings.NODES)]
    errors = [
        Error(
            f'{setting} names "{alias}", which is not in DATABASES.',
            hint=f'Add an entry "{alias}" to DATABASES, or remove the name from {setting}.',
            id="distributed.E001",
        )
        for setting, alias in named
        if alias not in settings.DATABASES
    ]
    if errors or not settings.NODES:
        return errors
    if len({alias for _, alias in named}) < len(named):
        errors.append(
            Error(
                "NODES names an alias twice, or the coordinator.",
                hint=f'Write each alias once, and not "{coordinator}". A node can be on the same '
                "server as the coordinator, but must be another database.",
                id="distributed.E002",
            )
        )
    vendor = connections[coordinator].vendor
    if vendor not in ENGINES:
        return [
            *errors,
            Error(
                f'The coordinator "{coordinator}" is on {connections[coordinator].display_name}, '
                "which can't have rows on other servers.",
                hint="Write NODES = [] for one database. Nodes need PostgreSQL, or MariaDB.",
                id="distributed.E003",
            ),
        ]
    errors += [
        Error(
            f'The node "{alias}" is on {connections[alias].display_name}, and the coordinator is '
            f"on {connections[coordinator].display_name}.",
            hint="Use one engine for the coordinator and all nodes.",
            id="distributed.E004",
        )
        for alias in settings.NODES
        if connections[alias].vendor != vendor
    ]
    if settings.DATABASES[coordinator]["ENGINE"] != BACKENDS[vendor]:
        errors.append(
            Warning(
                f'Some of Django\'s queries fail on the coordinator "{coordinator}".',
                hint=f'Write in DATABASES["{coordinator}"]: "ENGINE": "{BACKENDS[vendor]}"',
                id="distributed.W005",
            )
        )
    errors += [
        Error(
            f'The node "{alias}" has no HOST, and the server of the coordinator must find it.',
            hint=f'Write the "HOST" in DATABASES["{alias}"], as the server of the coordinator '
            "reaches it.",
            id="distributed.E006",
        )
        for alias in settings.NODES
        if not settings.DATABASES[alias]["HOST"]
    ]
    return errors


def check_apps(**kwargs):
    """Check ``DISTRIBUTED_APPS``."""
    installed = {config.label for config in apps.get_app_configs()}
    return [
        Error(
            f'DISTRIBUTED_APPS names "{label}", but no installed app has this label.',
            hint=f"Remove it, or write one of: {', '.join(sorted(installed))}.",
            id="distributed.E007",
        )
        for label in sorted(set(settings.DISTRIBUTED_APPS) - installed)
    ]


def check_models(**kwargs):
    """Check that each table of ``DISTRIBUTED_APPS`` is distributed, and the keys of its rows."""
    if not settings.NODES:
        return []
    tables = {table.model for table in distributed()}
    errors = []
    for model in apps.get_models(include_auto_created=True):
        if model._meta.app_label not in settings.DISTRIBUTED_APPS or model._meta.proxy:
            continue
        if isinstance(model._meta.pk, AutoField):
            errors.append(
                Error(
                    f"The database makes the keys of {model._meta.label}, but each node would make "
                    "them by itself, so that two rows have the same key.",
                    hint="Write id = KeyField(), or KeyField(of=…), from sharding.fields. A "
                    "ManyToManyField needs through=.",
                    id="distributed.E013",
                )
            )
        elif model not in tables:
            errors.append(
                Warning(
                    f"No migration distributes {model._meta.label}, so its rows are in "
                    f'"{settings.COORDINATOR}".',
                    hint="Write a migration with the operation Distribute, from "
                    f"distributed.operations: Distribute({model.__name__}=…)",
                    id="distributed.W014",
                )
            )
    return errors


def check_router(**kwargs):
    """Check that a node gets the tables of ``DISTRIBUTED_APPS``, and no others."""
    if not nodes_are_right():
        return []  # check_nodes reports it
    for model in apps.get_models():
        wanted = settings.NODES if model._meta.app_label in settings.DISTRIBUTED_APPS else []
        tables = [alias for alias in settings.NODES if router.allow_migrate_model(alias, model)]
        if tables != list(wanted):
            return [
                Error(
                    f"For {model._meta.label} the routers create a table on: "
                    f"{', '.join(tables) or 'no node'}. Nodes must have all tables of "
                    "DISTRIBUTED_APPS, and no others.",
                    hint='Write DATABASE_ROUTERS = ["distributed.routers.NodeRouter"]. Other '
                    "routers come after it.",
                    id="distributed.E008",
                )
            ]
    return []


def check_servers(databases=None, **kwargs):
    """Check that the coordinator knows the nodes, and that each has its tables and guards."""
    if settings.COORDINATOR not in (databases or []) or not nodes_are_right():
        return []
    coordinator = connections[settings.COORDINATOR]
    engine = ENGINES[coordinator.vendor]
    applied = MigrationRecorder(coordinator).applied_migrations()
    tables = [table for table in distributed() if table.migration in applied]
    if not tables:
        return []  # the migration makes the nodes known, or reports an error
    errors = [
        Error(
            f'The coordinator does not know the node "{alias}".',
            hint="As an administrator of the coordinator's server, execute what this command "
            "prints: python manage.py sqlnodes",
            id="distributed.E009",
        )
        for alias in engine.unknown(coordinator)
    ]
    for table in tables:
        there = engine.partitions(coordinator, table.model)
        if lost := [alias for alias in settings.NODES if alias not in there]:
            errors.append(
                Error(
                    f"The table {table.model._meta.db_table} has no partition on: "
                    f"{', '.join(lost)}.",
                    hint="NODES must name the nodes of the migration with Distribute, in the same "
                    "order. To add a node, make a new coordinator, and copy the rows.",
                    id="distributed.E010",
                )
            )
    for alias in settings.NODES:
        try:
            errors += [
                Warning(
                    f'The node "{alias}" accepts rows of other nodes in the table '
                    f"{table.model._meta.db_table}.",
                    hint=f"Run: python manage.py migrate {table.model._meta.app_label} "
                    f"--database={alias}. If the constraint was removed later, execute on the "
                    f"node: {add_guard(connections[alias], table.model, table.field)}",
                    id="distributed.W011",
                )
                for table in tables
                if not has_guard(connections[alias], table.model)
            ]
        except (DatabaseError, InterfaceError) as error:
            errors.append(
                Warning(
                    f'The node "{alias}" is unavailable: {" ".join(str(error).split())}',
                    hint="Queries that need this node fail until its server runs.",
                    id="distributed.W012",
                )
            )
    return errors
