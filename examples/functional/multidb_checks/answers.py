"""What the routers answer for each model, and which aliases hold the same rows. Without a query."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.models import Model

#: How often a router is asked. If it chooses between two aliases at random, all answers are the
#: same for 1 of 500,000 models.
TIMES = 20
DUMMY = "django.db.backends.dummy"
#: Keys of OPTIONS with which two entries with the same address can be different databases.
OPTIONS = ("service", "options", "init_command", "read_default_file", "read_default_group")


@dataclass(frozen=True)
class Answer:
    """What the routers answer for a model, asked several times and without hints."""

    aliases: frozenset[str]
    router: Any  # the router that answered, or None if no router answered
    known: bool = True  # False if a router raised an error, for example because it needs a hint


def entry(alias: str) -> dict:
    """Return an entry of ``DATABASES``, with Django's defaults."""
    return connections.settings[alias]


def is_dummy(alias: str) -> bool:
    """Return whether the entry is ``{}``: such an entry has no database."""
    return entry(alias)["ENGINE"] == DUMMY


def mirrored(alias: str) -> str:
    """Return the alias of the primary, if ``TEST`` names one by ``MIRROR``."""
    seen = set()
    while (mirror := entry(alias)["TEST"]["MIRROR"]) in set(connections) - seen:
        seen.add(alias)
        alias = mirror
    return alias


def address(alias: str) -> tuple:
    settings = entry(alias)
    name = str(settings["NAME"])
    if name == ":memory:" or is_dummy(alias):
        name = alias
    elif settings["ENGINE"].endswith("sqlite3"):
        name = name.removeprefix("file://").removeprefix("file:").partition("?")[0]
    keys = [str(settings[key]) for key in ("ENGINE", "HOST", "PORT")]
    return (name, *keys, *(str(settings["OPTIONS"].get(key)) for key in OPTIONS))


def rows_of(alias: str) -> str:
    """Return one alias for all aliases that hold the same rows.

    Two aliases hold the same rows if one is a ``MIRROR`` of the other, or if they have the same
    address. An alias without an entry in ``DATABASES`` is returned as it is.
    """
    if alias not in set(connections):
        return alias
    alias = mirrored(alias)
    return next(other for other in connections if address(other) == address(alias))


def ask(question: str, model: type[Model]) -> Answer:
    """Ask ``db_for_read`` or ``db_for_write``, as Django does for a queryset without a hint."""
    aliases, answered = set(), None
    for _ in range(TIMES):
        for item in router.routers:
            if method := getattr(item, question, None):
                try:
                    alias = method(model)
                except Exception:
                    return Answer(frozenset(), item, known=False)
                if alias:
                    aliases.add(alias)
                    answered = item
                    break
        else:
            aliases.add(DEFAULT_DB_ALIAS)
    return Answer(frozenset(aliases), answered)


def ask_migrate(alias: str, app_label: str, **hints) -> tuple[bool, Any]:
    """Return whether the routers allow a migration, and the router that said so, or None.

    A router that raises an error allows nothing.
    """
    for item in router.routers:
        allowed = allow_migrate(item, alias, app_label, **hints)
        if allowed is not None:
            return bool(allowed), item
    return True, None


def allow_migrate(item: Any, alias: str, app_label: str, **hints) -> bool | None:
    """Ask one router. None means that it leaves the answer to the next router."""
    method = getattr(item, "allow_migrate", None)
    try:
        return method(alias, app_label, **hints) if method else None
    except Exception:
        return False


def hints_of(model: type[Model]) -> dict:
    """Return the hints with which Django asks for the migration of a model."""
    return {"model_name": model._meta.model_name, "model": model}


def makes_table(model: type[Model]) -> bool:
    return model._meta.managed and not model._meta.proxy


class Routing:
    """The answers of the routers for all models."""

    def __init__(self):
        self.models = [model for model in apps.get_models() if not model._meta.proxy]
        self.read = {model: ask("db_for_read", model) for model in self.models}
        self.write = {model: ask("db_for_write", model) for model in self.models}
        #: The aliases, one for all that hold the same rows.
        self.databases = [a for a in connections if rows_of(a) == a and not is_dummy(a)]

    def reads(self, model) -> set[str]:
        return {rows_of(alias) for alias in self.of(self.read, model).aliases}

    def writes(self, model) -> set[str]:
        return {rows_of(alias) for alias in self.of(self.write, model).aliases}

    def of(self, answers, model) -> Answer:
        """The tables of many-to-many fields are not in ``models``, so they are asked for here."""
        question = "db_for_read" if answers is self.read else "db_for_write"
        if model not in answers:
            answers[model] = ask(question, model)
        return answers[model]

    @cached_property
    def selective(self) -> list:
        """The routers whose ``allow_migrate`` does not say True for each model."""
        return [
            item
            for item in router.routers
            if any(
                allow_migrate(item, alias, model._meta.app_label, **hints_of(model)) is not True
                for alias in connections
                for model in self.models
            )
        ]

    def chosen(self, model) -> set[str]:
        """Return the databases that a router chooses for the table of a model.

        A router chooses if it returns True, and False or None for other models. A router that
        always returns True does not choose.
        """
        found = set()
        for alias in self.databases:
            allowed, item = ask_migrate(alias, model._meta.app_label, **hints_of(model))
            if allowed and item in self.selective:
                found.add(alias)
        return found

    def homes(self, model) -> set[str]:
        """Return the databases in which the rows of a model are written. It may be empty."""
        if self.of(self.write, model).known:
            return self.writes(model)
        return self.chosen(model)

    @cached_property
    def written(self) -> set[str]:
        """The databases that a router returns for the writes of at least one model."""
        return {
            rows_of(alias)
            for model in self.models
            if self.write[model].router and self.write[model].known
            for alias in self.write[model].aliases
        } | {
            alias
            for model in self.models
            if not self.write[model].known
            for alias in self.chosen(model)
        }


def path_of(item: Any) -> str:
    """Return the import path of a router's class."""
    return f"{type(item).__module__}.{type(item).__qualname__}"


def quoted(aliases: Iterable[str]) -> str:
    return together([f'"{alias}"' for alias in sorted(aliases)])


def together(names: Iterable[str], limit: int = 4) -> str:
    """Return "a, b and c", or the first of them and the number of the others."""
    names = list(names)
    if len(names) > limit:
        names[limit - 1 :] = [f"{len(names) - limit + 1} more"]
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def labels(models: Iterable[type[Model]]) -> str:
    return together([model._meta.label for model in models])
