"""Routers that answer only one of two questions, or a different alias each time."""

from django.core.checks import Error, Warning
from django.db import DEFAULT_DB_ALIAS, connections, router

from multidb_checks.answers import (
    Routing,
    ask_migrate,
    hints_of,
    labels,
    makes_table,
    path_of,
    quoted,
    rows_of,
    together,
)

MIRROR = 'If one is a replica of the other, write in its entry: "TEST": {"MIRROR": "its primary"}.'


def group(pairs):
    """Return a dict from each key to the list of its values."""
    found = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def check_aliases(**kwargs):
    """Check that ``DATABASES`` has each alias that a router returns."""
    routing = Routing()
    for question, answers in (("db_for_read", routing.read), ("db_for_write", routing.write)):
        unknown = group(
            ((alias, path_of(answer.router)), model)
            for model, answer in answers.items()
            for alias in sorted(answer.aliases - set(connections))
        )
        for (alias, path), models in unknown.items():
            yield Error(
                f'{question}() of {path} returns "{alias}" for {labels(models)}, but DATABASES '
                f'has no entry "{alias}".',
                hint=f'Add the entry "{alias}" to DATABASES, or correct the router.',
                id="multidb.E006",
            )


def check_same_answer(**kwargs):
    """Check that a router returns the same database each time that it is asked."""
    routing = Routing()
    writes = group(
        ((answer.aliases, path_of(answer.router)), model)
        for model, answer in routing.write.items()
        if len(answer.aliases) > 1
    )
    for (aliases, path), models in writes.items():
        yield Error(
            f"db_for_write() of {path} returns {quoted(aliases)} by turns for {labels(models)}. "
            "Django asks several times for one write, so rows of one write get into different "
            "databases.",
            hint="Return the same alias each time. To choose by the row, use the hint instance, "
            "and raise an error without it.",
            id="multidb.E007",
        )
    reads = group(
        ((answer.aliases, path_of(answer.router)), model)
        for model, answer in routing.read.items()
        if len(routing.reads(model)) > 1
    )
    for (aliases, path), models in reads.items():
        yield Warning(
            f"db_for_read() of {path} returns {quoted(aliases)} by turns for {labels(models)}. "
            "DATABASES does not say that these hold the same rows.",
            hint=f"{MIRROR} Otherwise return the same alias each time.",
            id="multidb.W008",
        )


def check_read_and_write(**kwargs):
    """Check that rows are read from the database to which they are written."""
    routing = Routing()
    only_read, elsewhere = [], []
    for model in routing.models:
        read, write = routing.read[model], routing.write[model]
        if not (read.known and write.known) or len(routing.reads(model)) > 1:
            continue
        if read.router and not write.router and read.aliases != {DEFAULT_DB_ALIAS}:
            only_read.append(((read.aliases, path_of(read.router)), model))
        elif routing.reads(model) != routing.writes(model) and len(write.aliases) == 1:
            elsewhere.append(((read.aliases, write.aliases, bool(read.router)), model))
    for (aliases, path), models in group(only_read).items():
        yield Warning(
            f"db_for_read() of {path} returns {quoted(aliases)} for {labels(models)}, but no "
            "router answers db_for_write(). An object is saved in the database that it was read "
            'from, and a new object in "default".',
            hint=f"Add db_for_write() to {path}, and return the alias of the primary.",
            id="multidb.W009",
        )
    for (reads, writes, answered), models in group(elsewhere).items():
        yield Warning(
            f"Rows of {labels(models)} are written to {quoted(writes)}, but read from "
            f"{quoted(reads)}"
            + (
                ". DATABASES does not say that both hold the same rows."
                if answered
                else ", because no router answers db_for_read()."
            ),
            hint=f"{MIRROR} Otherwise return the same alias from db_for_read() and db_for_write().",
            id="multidb.W010",
        )


def check_allow_relation(**kwargs):
    """Check that two objects may be related if they were read from copies of the same rows.

    By default, Django compares the aliases that the objects were read from. So a router that
    returns two aliases for the same rows needs ``allow_relation``.
    """
    routing = Routing()
    refused = []
    for model in routing.models:
        for field in model._meta.local_fields:
            other = field.related_model
            if (
                field.remote_field
                and isinstance(other, type)
                and (pair := first_refused(routing, model, other))
            ):
                refused.append((pair, f"{model._meta.label}.{field.name}"))
    for (alias, its), fields in group(refused).items():
        yield Warning(
            f'An object read from "{alias}" cannot be assigned to an object from "{its}", in '
            f"{together(fields)}. Both aliases hold the same rows, but allow_relation() of no "
            "router returns True.",
            hint="Add allow_relation() to the router, and return True if both objects are in "
            "databases with the same rows.",
            id="multidb.W011",
        )


def first_refused(routing, model, other):
    """Return the first pair of aliases with the same rows between which a relation is refused."""
    for its in sorted(aliases_of(routing, model)):
        for alias in sorted(aliases_of(routing, other)):
            if alias != its and rows_of(alias) == rows_of(its):
                try:
                    allowed = router.allow_relation(empty(other, alias), empty(model, its))
                except Exception:
                    return None  # a model or a router that needs more than an empty object
                if not allowed:
                    return alias, its
    return None


def empty(model, alias):
    """Return an object as if read from this database. No default is called: it could query."""
    names = [field.attname for field in model._meta.concrete_fields]
    return model.from_db(alias, names, [None] * len(names))


def aliases_of(routing, model):
    return routing.of(routing.read, model).aliases | routing.of(routing.write, model).aliases


def check_strangers(**kwargs):
    """Check that ``allow_migrate`` keeps other apps' tables out of each database."""
    routing = Routing()
    strangers = []
    for alias in routing.databases:
        if alias != DEFAULT_DB_ALIAS and alias not in routing.written:
            continue  # no router claims this database
        for model in filter(makes_table, routing.models):
            where = routing.reads(model) | routing.writes(model)
            allowed, item = ask_migrate(alias, model._meta.app_label, **hints_of(model))
            known = routing.read[model].known and routing.write[model].known
            # A selective router that returns True has chosen this database for the table.
            if known and allowed and alias not in where and item not in routing.selective:
                strangers.append((alias, model))
    for alias, models in group(strangers).items():
        apps = sorted({model._meta.app_label for model in models})
        where = set().union(*(routing.writes(model) for model in models))
        yield Warning(
            f'allow_migrate() lets the tables of {together(apps)} into "{alias}", but the routers '
            f"read and write them in {quoted(where)}.",
            hint=f'Return False from allow_migrate() if db is "{alias}" and the app is not one of '
            "its own.",
            id="multidb.W012",
        )
