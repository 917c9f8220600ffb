from django.conf import settings


class NodeRouter:
    """A node has the tables of ``DISTRIBUTED_APPS`` only. It is first in ``DATABASE_ROUTERS``.

    Queries go to the coordinator, as the other routers say.
    """

    def allow_migrate(self, db, app_label, **hints):
        return app_label in settings.DISTRIBUTED_APPS if db in settings.NODES else None
