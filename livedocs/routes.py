"""Asks a project where its models live; run as a script, in a process of the project's own.

``python -P routes.py shop.settings``, in the project's folder, prints what Django's settings and
routers answer, as JSON. Nothing of livedocs is imported here, so that nothing hides a project's
module of the same name.
"""

import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

#: How often a question is put, for each alias: enough to meet each of several replicas by chance.
TIMES = 50


def main(settings: str) -> None:
    answer, sys.stdout = sys.stdout, sys.stderr  # What a project prints as it starts is no answer.
    sys.path.insert(0, os.getcwd())
    os.environ["DJANGO_SETTINGS_MODULE"] = settings
    random.seed(0)  # A router that picks a replica by chance picks the same ones in each build.
    import django

    django.setup()
    json.dump(topology(), answer)


def topology() -> dict:
    """Each alias's engine and, for a replica, its primary; each model's aliases, in their order."""
    from django.apps import apps
    from django.db import connections, router

    assert router.routers is not None  # Here, a router that can't be imported is seen as a fault.
    databases = {
        database.alias: {
            "engine": "" if database.vendor == "unknown" else database.display_name,
            "primary": database.settings_dict["TEST"]["MIRROR"],
        }
        for database in connections.all()
    }
    for alias, at in databases.items():
        if at["primary"] and at["primary"] not in databases:
            raise LookupError(f"{alias} mirrors {at['primary']}, which DATABASES does not have")
    # A replica's tables come from its primary, and the engine of `{}` has none.
    own = [alias for alias, at in databases.items() if at["engine"] and not at["primary"]]
    models = [model for model in apps.get_models() if is_table(model)]
    # All the reads first: some routers, once asked for a write, read from the primary for a while.
    reads = [ask(router.db_for_read, model, list(databases)) for model in models]
    writes = [ask(router.db_for_write, model, list(databases)) for model in models]
    return {
        "databases": databases,
        "models": [
            {
                "app": model._meta.app_label,
                "name": model._meta.object_name,
                "own": Path(model._meta.app_config.path).is_relative_to(os.getcwd()),
                "reads": read,
                "writes": write,
                "tables": [alias for alias in own if router.allow_migrate_model(alias, model)],
            }
            for model, read, write in zip(models, reads, writes, strict=True)
        ],
    }


def is_table(model: type) -> bool:
    return model._meta.managed and not model._meta.proxy


def ask(question: Callable, model: type, aliases: list[str]) -> dict:
    """All the aliases that a router answers with, and the name of what it raises, if it does."""
    answers, raised = set(), ""
    for _ in range(TIMES * len(aliases)):
        try:
            answers.add(question(model))
        except (NameError, ImportError):
            raise  # The router is broken. Anything else can be its way to ask for a hint.
        except Exception as error:
            raised = type(error).__name__
            break
    if unknown := answers - set(aliases):
        raise LookupError(f"{model._meta.label} goes to {unknown}, which DATABASES does not have")
    return {"aliases": [alias for alias in aliases if alias in answers], "raises": raised}


if __name__ == "__main__":
    main(sys.argv[1])
