"""What differs between a database, the records of its migrations, the routers and the models."""

from dataclasses import asdict, dataclass, field

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, Error, connections, router
from django.db.migrations.exceptions import InconsistentMigrationHistory, NodeNotFoundError
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from multidb_checks.answers import is_dummy, makes_table, mirrored, together
from multidb_checks.catalogue import missing_file, read_only, tables_of


@dataclass
class Difference:
    """A difference: its kind, what differs, and what to do."""

    kind: str
    message: str
    hint: str


@dataclass
class Report:
    """What was found in the database of an alias. ``note`` says why it was not compared."""

    alias: str
    note: str = ""
    recorded: list[str] = field(default_factory=list)  # in django_migrations: "app.0001_initial"
    allowed: list[str] = field(default_factory=list)  # the labels of the models
    tables: list[str] = field(default_factory=list)  # those of the allowed models
    differences: list[Difference] = field(default_factory=list)

    def as_dict(self) -> dict:
        return asdict(self)

    def add(self, kind, message, hint):
        self.differences.append(Difference(kind, message, hint))


def report_on(alias):
    """Compare a database, and return the report. Nothing is written."""
    report = Report(alias)
    connection = connections[alias]
    if is_dummy(alias):
        report.note = "The entry is empty, so there is no database."
    elif file := missing_file(connection):
        report.add("unavailable", f"There is no file {file}.", first_migration(connection))
    else:
        try:
            with read_only(connection):
                compare(report, connection)
        except (Error, ImproperlyConfigured) as error:
            line = " ".join(str(error).split())
            report.add(
                "unavailable",
                f"The database does not answer: {line}",
                "See whether the server runs, and whether the entry in DATABASES is right.",
            )
    if report.differences and (primary := mirrored(alias)) != alias:
        for difference in report.differences:
            difference.hint = (
                f'"{alias}" is a replica of "{primary}". If drift reports nothing for '
                f'"{primary}", look at the replication.'
            )
    return report


def migrate(alias, *arguments):
    """Return the command that migrates a database."""
    database = [] if alias == DEFAULT_DB_ALIAS else [f"--database={alias}"]
    return " ".join(["python manage.py migrate", *database, *arguments])


def first_migration(connection):
    """Return the commands that make the tables of an empty database."""
    if (alias := connection.alias) == DEFAULT_DB_ALIAS:
        return f"Run: {migrate(alias)}"
    # Without the label of an app, migrate would record the migrations of all apps.
    labels = sorted({model._meta.app_label for model in allowed_models(connection)})
    return (
        f"Run: {' && '.join(migrate(alias, label) for label in labels)}" if labels else "Copy it."
    )


def allowed_models(connection):
    """Return the models with a table for which the routers allow migrations.

    For a replica, these are the models of its primary, because replication makes its tables.
    """
    owner = mirrored(connection.alias)
    return [
        model
        for model in apps.get_models()
        if model._meta.can_migrate(connection) and router.allow_migrate_model(owner, model)
    ]


def with_tables(model):
    """Return the models whose tables belong to a model: itself and its many-to-many tables."""
    return [model] + [
        through
        for field in model._meta.local_many_to_many
        if (through := getattr(field.remote_field, "through", None)) and through._meta.auto_created
    ]


def table_of(model):
    return model._meta.db_table.lower()


def columns_of(model):
    return {field.column.lower(): field for field in model._meta.local_concrete_fields}


def compare(report, connection):
    allowed = allowed_models(connection)
    report.allowed = [model._meta.label for model in allowed]
    loader = MigrationLoader(connection, ignore_no_migrations=True)
    recorded = set(MigrationRecorder(connection).applied_migrations())
    report.recorded = sorted(map(".".join, recorded))
    if not allowed:
        report.note = "The routers allow no table in it, so it is not compared."
        return
    tables = tables_of(connection)
    here = [model for owner in allowed for model in with_tables(owner)]
    report.tables = sorted(table_of(model) for model in here if table_of(model) in tables)

    compare_records(report, loader, recorded)
    pending = compare_migrations(report, loader, {model._meta.app_label for model in allowed})
    current = [m for m in here if m._meta.app_label not in pending and '"' not in table_of(m)]
    compare_tables(report, loader, recorded, current, tables)
    for model in current:
        if (table := tables.get(table_of(model))) and table.is_table:
            compare_columns(report, model, table.columns)
    # Another model may have the same table: an unmanaged model, or a model of another app.
    others = [m for m in apps.get_models(include_swapped=True) if not makes_table(m)] + here
    known = {table_of(model) for model in others}
    strangers = [
        model
        for owner in filter(makes_table, apps.get_models())
        if owner not in allowed
        for model in with_tables(owner)
        if (table := tables.get(table_of(model))) and table.is_table
        if table_of(model) not in known
    ]
    for label in sorted({model._meta.app_label for model in strangers}):
        names = [table_of(model) for model in strangers if model._meta.app_label == label]
        report.add(
            "stranger",
            f'{tables_named(names)} of the app "{label}" {exist(names)}, but the routers do not '
            "allow it here.",
            "If its rows are used, correct allow_migrate(). Otherwise make a backup, and drop it."
            if len(names) == 1
            else "If their rows are used, correct allow_migrate(). Otherwise make a backup, and "
            "drop them.",
        )


def tables_named(names):
    return f"Table {names[0]}" if len(names) == 1 else f"Tables {together(names)}"


def exist(names):
    return "exists" if len(names) == 1 else "exist"


def compare_records(report, loader, recorded):
    """Compare the records with the migrations in the code."""
    try:
        loader.check_consistent_history(loader.connection)
    except InconsistentMigrationHistory as error:
        report.add(
            "inconsistent",
            str(error),
            "Record that migration too, or delete the record of the migration that depends on it.",
        )
    known = set(loader.disk_migrations).union(
        *(migration.replaces for migration in loader.disk_migrations.values())
    )
    for label in sorted({app for app, _ in recorded - known}):
        names = sorted(name for app, name in recorded - known if app == label)
        report.add(
            "unknown",
            f'django_migrations records {together(names)} of the app "{label}", but the code has '
            "no such migration.",
            "Install the release that has it. Or remove the record: "
            + (
                migrate(report.alias, label, "--prune")
                if label in loader.migrated_apps
                else f"DELETE FROM django_migrations WHERE app = '{label}'"
            ),
        )


def compare_migrations(report, loader, labels):
    """Report the migrations that are not applied. Return the labels of their apps."""
    pending = {}
    for label, name in sorted(loader.graph.nodes):
        if label in labels and (label, name) not in loader.applied_migrations:
            pending.setdefault(label, []).append(name)
    for label, names in pending.items():
        report.add(
            "not-applied",
            f'{together(names)} of the app "{label}" {"is" if len(names) == 1 else "are"} not '
            "applied.",
            f"Run: {migrate(report.alias, label)}",
        )
    return pending


def compare_tables(report, loader, recorded, models, tables):
    """Report tables that are missing although no migration is."""
    missing = [model for model in models if table_of(model) not in tables]
    for label in sorted({model._meta.app_label for model in missing}):
        of_app = [model for model in models if model._meta.app_label == label]
        names = [table_of(model) for model in missing if model._meta.app_label == label]
        lacks = f"{tables_named(names)} {'does' if len(names) == 1 else 'do'} not exist"
        if label not in loader.migrated_apps:
            report.add(
                "no-table",
                f'{lacks}. The app "{label}" has no migrations.',
                f"Run: {migrate(report.alias, '--run-syncdb')}",
            )
            continue
        whole = len(names) == len(of_app) and not has_dependents(loader, recorded, label)
        report.add(
            "missing-table",
            f'{lacks}, but django_migrations records the migrations of "{label}".',
            f"Run: {migrate(report.alias, label, 'zero', '--fake')} && "
            f"{migrate(report.alias, label)}"
            if whole
            else "Restore it from a backup. Or execute the SQL that creates it: python manage.py "
            f"sqlmigrate --database={report.alias} {label} <migration>",
        )


def has_dependents(loader, recorded, label):
    """Return whether a recorded migration of another app depends on this app."""
    return any(
        parent.key[0] == label
        for key in recorded
        if key[0] != label and key in loader.graph.node_map
        for parent in loader.graph.node_map[key].parents
    )


def compare_columns(report, model, columns):
    wanted = columns_of(model)
    label = model._meta.label
    if missing := [name for name in wanted if name not in columns]:
        report.add(
            "missing-column",
            f"Table {table_of(model)} lacks {together(missing)} of {label}.",
            "Run: python manage.py makemigrations --check. If it finds no change, add the column "
            "by the SQL of the migration: python manage.py sqlmigrate --database="
            f"{report.alias} {model._meta.app_label} <migration>",
        )
    if extra := sorted(columns - wanted.keys()):
        report.add(
            "extra-column",
            f"Table {table_of(model)} has {together(extra)}, which {label} does not have.",
            "If no release uses it, remove it by a migration. An INSERT fails if it has no "
            "default and is NOT NULL.",
        )


def reports_on(aliases):
    """Yield the report on each database. A migration that cannot be loaded is an error of all."""
    for alias in aliases:
        try:
            yield report_on(alias)
        except NodeNotFoundError as error:
            report = Report(alias)
            report.add("migrations", str(error), "Correct the dependencies of the migrations.")
            yield report
