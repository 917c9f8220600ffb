"""A coordinator and three nodes on MariaDB: four servers, which tests/cluster.py starts.

The variable CLUSTER names the folder of their sockets. Without it, that is the link ``servers``.
"""

import os
from pathlib import Path

from shop.settings import *  # noqa: F403

FOLDER = Path(os.environ.get("CLUSTER", "servers")).resolve()


def server(alias, test):
    return {
        "ENGINE": "django.db.backends.mysql",
        "NAME": "shop",
        "USER": "shop",
        "PASSWORD": "pendulum",
        "HOST": str(FOLDER / f"{alias}.sock"),
        "TEST": {"CHARSET": "utf8mb4"} | test,
    }


NODES = ["node0", "node1", "node2"]
DATABASES = {alias: server(alias, {"DEPENDENCIES": []}) for alias in NODES}
# A test run makes and migrates the databases of the nodes first.
DATABASES["default"] = server("default", {"DEPENDENCIES": NODES}) | {"ENGINE": "distributed.mysql"}
