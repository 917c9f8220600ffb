from django.apps import AppConfig
from django.conf import settings
from django.core.checks import Tags, register
from django.core.exceptions import ImproperlyConfigured

# Without these settings the router fails, and with it even Django's own checks.
NEEDED = {
    "COORDINATOR": (str, 'COORDINATOR = "default", the alias that is queried'),
    "NODES": (list | tuple, "NODES = [], the aliases of the servers with the rows"),
    "DISTRIBUTED_APPS": (
        set | list | tuple,
        'DISTRIBUTED_APPS = {"notes"}, the labels of the apps whose rows are on the nodes',
    ),
}


class DistributedConfig(AppConfig):
    name = "distributed"

    def ready(self):
        for name, (kind, line) in NEEDED.items():
            if not isinstance(getattr(settings, name, None), kind):
                raise ImproperlyConfigured(f"The app distributed needs {name}. Write {line}.")

        from distributed import checks

        register(checks.check_nodes, "distributed")
        register(checks.check_apps)
        register(checks.check_models)
        register(checks.check_router)
        register(checks.check_servers, Tags.database)
