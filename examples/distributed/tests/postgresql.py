"""A coordinator and three nodes on PostgreSQL: four servers, which tests/cluster.py starts.

The variable CLUSTER names the folder of their sockets. Without it, that is the link ``servers``.
"""

import os
from pathlib import Path

from shop.settings import *  # noqa: F403

SERVER = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": "shop",
    "USER": "shop",
    "PASSWORD": "pendulum",
    "HOST": str(Path(os.environ.get("CLUSTER", "servers")).resolve()),
}
NODES = ["node0", "node1", "node2"]
DATABASES = {
    # A test run makes and migrates the databases of the nodes first.
    "default": SERVER
    | {
        "ENGINE": "distributed.postgresql",
        "PORT": "5501",
        "TEST": {"DEPENDENCIES": NODES},
    },
    "node0": SERVER | {"PORT": "5502", "TEST": {"DEPENDENCIES": []}},
    "node1": SERVER | {"PORT": "5503", "TEST": {"DEPENDENCIES": []}},
    "node2": SERVER | {"PORT": "5504", "TEST": {"DEPENDENCIES": []}},
}
