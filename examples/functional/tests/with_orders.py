"""The settings of the tests in ``outbox/``. ``UNDER`` names the settings of the engine."""

import os
from importlib import import_module

from shop.with_orders import *  # noqa: F403

DATABASES = import_module(os.environ.get("UNDER", "shop.settings")).DATABASES
