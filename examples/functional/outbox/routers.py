from outbox import conf


class OutboxRouter:
    """The tables of the outbox are in each database that sends or receives.

    The code of the outbox always names the database with ``using()``.
    """

    def db_for_read(self, model, instance=None, **hints):
        if model._meta.app_label == "outbox":
            return (instance and instance._state.db) or next(iter(conf.sources()), None)

    db_for_write = db_for_read

    def allow_relation(self, obj1, obj2, **hints):
        if obj1._meta.app_label == obj2._meta.app_label == "outbox":
            return obj1._state.db == obj2._state.db

    def allow_migrate(self, db, app_label, **hints):
        if app_label == "outbox":
            return db in {*conf.sources(), *conf.targets()}
