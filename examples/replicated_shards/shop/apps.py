from django.apps import AppConfig
from django.conf import settings
from django.db.backends.signals import connection_created

from shop.consistency import note_writes
from shop.failover import fail_over


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self):
        connection_created.connect(wrap_queries)


def wrap_queries(connection, **kwargs):
    """Have the queries of each shard's connections watched, whichever thread opens them."""
    wrapper = {
        **dict.fromkeys(settings.REPLICAS, note_writes),
        **{alias: fail_over for aliases in settings.REPLICAS.values() for alias in aliases},
    }.get(connection.alias)
    if wrapper and wrapper not in connection.execute_wrappers:
        # In front: a connection may be opened within an execute_wrapper() block, which takes away
        # the last one when it ends.
        connection.execute_wrappers.insert(0, wrapper)
