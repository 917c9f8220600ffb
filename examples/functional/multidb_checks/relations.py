"""Foreign keys and many-to-many fields whose two models are in different databases."""

import sysconfig
from pathlib import Path
from sys import modules

from django.conf import settings
from django.core.checks import Error, Warning
from django.db.models import DO_NOTHING

from multidb_checks.answers import Routing, quoted, together

ONE_DATABASE = "Return one database for both models from the routers."
PLAIN = "Replace it by a plain field that stores the key, or put both models in one database."


def is_contrib(model):
    """Return whether a model is Django's own, or the project's model of users."""
    return (
        model.__module__.startswith("django.contrib.")
        or model._meta.label == settings.AUTH_USER_MODEL
    )


def is_own(module):
    """Return whether the project can change this module: whether no package installed it."""
    file = Path(getattr(modules.get(module), "__file__", None) or "")
    folders = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")]
    return not any(folder in file.parents for folder in folders)


def apart(routing, model, other):
    """Return where the rows of both models are, if a row of ``model`` can lack its ``other``.

    Returns two sets of aliases, or None if each database with rows of ``model`` also has ``other``.
    """
    homes, theirs = routing.homes(model), routing.homes(other)
    if not theirs:
        return None  # the routers do not say where this table is
    if homes - theirs - routing.chosen(other):
        return homes, theirs
    reads = routing.reads(model) & routing.written
    if reads - theirs - routing.reads(other) - routing.chosen(other):
        return reads, routing.reads(other)
    return None


def check_relations(**kwargs):
    """Check each relation between two models, and those of Django's own apps together."""
    routing = Routing()
    contrib = {}  # for each pair of apps, the fields, and the databases
    for model in routing.models:
        for field in [*model._meta.local_fields, *model._meta.local_many_to_many]:
            other = field.related_model
            if not field.remote_field or not isinstance(other, type):
                continue  # a string: this model is not installed, and Django's check reports that
            if is_contrib(model) and is_contrib(other):
                if found := crosses(routing, field):
                    pair = model._meta.app_label, other._meta.app_label
                    _, fields = contrib.setdefault(pair, (found, []))
                    fields.append(f"{model._meta.label}.{field.name}")
            elif found := crosses(routing, field):
                yield about(field, *found)
    for (app, other), ((homes, theirs), fields) in contrib.items():
        yield Error(
            f'The tables of "{app}" are in {quoted(homes)}, and those of "{other}" in '
            f"{quoted(theirs)}. But Django joins them, through {together(fields)}.",
            hint='Put "admin", "auth", "contenttypes" and the model of users in one database. '
            "The sessions may be in another database, because they have no foreign key.",
            id="multidb.E005",
        )


def crosses(routing, field):
    """Return the two sets of aliases of a field that crosses, or None."""
    model, other = field.model, field.related_model
    if not field.many_to_many:
        return apart(routing, model, other)
    through = getattr(field.remote_field, "through", None)
    between = [model, other] if isinstance(through, type) else []
    return next(
        filter(
            None,
            [apart(routing, model, other), *(apart(routing, through, end) for end in between)],
        ),
        None,
    )


def about(field, homes, theirs):
    """Return the message about a field that crosses."""
    other = field.related_model._meta.label
    label = f"{field.model._meta.label}.{field.name}"
    where = f"from {quoted(homes)} to {other} in {quoted(theirs)}"
    own = is_own(field.model.__module__)
    if field.many_to_many:
        return Error(
            f"{label} is a many-to-many field {where}. No query can join its three tables.",
            hint="Replace it by a model with two plain fields that store the keys, or put all "
            "three tables in one database."
            if own
            else ONE_DATABASE,
            obj=field,
            id="multidb.E004",
        )
    if field.model._meta.managed and getattr(field, "db_constraint", False):
        return Error(
            f"{label} is a foreign key {where}. The database cannot check its constraint, so "
            "migrations or inserts fail.",
            hint=PLAIN if own else ONE_DATABASE,
            obj=field,
            id="multidb.E001",
        )
    if field.remote_field.on_delete is not DO_NOTHING:
        return Warning(
            f"{label} is a foreign key without a constraint, {where}. No query can join the two "
            "tables, and on_delete does not find the rows that refer to a deleted row.",
            hint=f"{PLAIN} If you keep the field, write on_delete=models.DO_NOTHING, and delete "
            "the rows in your own code."
            if own
            else ONE_DATABASE,
            obj=field,
            id="multidb.W002",
        )
    return Warning(
        f"{label} is a foreign key without a constraint, {where}. No query can join the two "
        "tables, and rows stay when the row that they refer to is deleted.",
        hint=f"{PLAIN} If your code knows both, silence this warning." if own else ONE_DATABASE,
        obj=field,
        id="multidb.W003",
    )
