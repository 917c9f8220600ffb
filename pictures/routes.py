"""Asks a project's routers where its models are. Runs as a script, in a separate process.

``python -P routes.py shop.settings``, in the project's folder, prints the answers of Django's
settings and routers, as JSON. This file imports nothing from this checkout, so that no module hides
a project's module with the same name.
"""

import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

#: The number of requests for each alias. It is high enough to find each replica that is picked at
#: random.
TIMES = 50


def main(settings: str) -> None:
    answer, sys.stdout = sys.stdout, sys.stderr  # A project may print at its start.
    sys.path.insert(0, os.getcwd())
    os.environ["DJANGO_SETTINGS_MODULE"] = settings
    random.seed(0)  # A router that picks a replica at random picks the same replicas in each build.
    import django

    django.setup()
    json.dump(topology(), answer)


def topology() -> dict:
    """Return each alias's engine and, for a replica, its primary; and each model's aliases."""
    from django.apps import apps
    from django.db import connections, router

    assert router.routers is not None  # Here, a router that can't be imported raises an error.
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
    # A replica gets its tables from its primary, and an alias of `{}` has no tables.
    own = [alias for alias, at in databases.items() if at["engine"] and not at["primary"]]
    models = [model for model in apps.get_models() if is_table(model)]
    # All reads first: after a write, some routers read from the primary for a while.
    reads = ask(router.db_for_read, models, list(databases))
    writes = ask(router.db_for_write, models, list(databases))
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


def ask(question: Callable, models: list[type], aliases: list[str]) -> list[dict]:
    """Return for each model all answers of a router, and the name of an exception that it raised.

    The router is asked in a view, within the project's middleware, as routers may depend on it.
    """
    from django.http import HttpResponse
    from django.test import Client, override_settings
    from django.urls import path

    answers: list[set[str]] = [set() for _ in models]
    raised = [""] * len(models)
    faults = []

    def view(request):
        for number, model in enumerate(models):
            try:
                answers[number].add(question(model))
            except (NameError, ImportError) as error:
                faults.append(error)  # The router is broken.
            except Exception as error:  # Perhaps the router needs a hint.
                raised[number] = type(error).__name__
        return HttpResponse()

    with override_settings(ROOT_URLCONF=(path("", view),), ALLOWED_HOSTS=["*"]):
        for _ in range(TIMES * len(aliases)):
            response = Client().get("/")
            if faults:
                raise faults[0]
            if response.status_code != 200:
                status = f"the middleware answered GET / with status {response.status_code}"
                raise LookupError(f"{status}, and called no view: let that request pass")
    for model, answered in zip(models, answers, strict=True):
        if unknown := answered - set(aliases):
            where = f"{model._meta.label} goes to {unknown}"
            raise LookupError(f"{where}, which DATABASES does not have")
    return [
        {"aliases": [alias for alias in aliases if alias in answered], "raises": error}
        for answered, error in zip(answers, raised, strict=True)
    ]


if __name__ == "__main__":
    main(sys.argv[1])
