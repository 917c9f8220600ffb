"""The shop with orders. An order in `default` has its effect in `reviews`, by the app `outbox`.

Name these settings in a command (``--settings=shop.with_orders``), or in ``manage.py``.
"""

from shop.settings import *  # noqa: F403
from shop.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "orders", "purchases", "outbox"]
DATABASE_ROUTERS = ["outbox.routers.OutboxRouter", "shop.routers.RouterWithOrders"]

OUTBOX_SOURCES = ["default"]
OUTBOX_RECEIVERS = {"orders": ("reviews", "purchases.receiving.receive")}
