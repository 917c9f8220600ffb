class FunctionalRouter:
    """Separation by function: the database of a model depends on its app.

    No method returns None. After a None, Django would use the database that the instance in the
    hints came from. But a product is not in the database that a review came from.
    """

    databases = {"reviews": "reviews"}  # an app's label, and the alias of its database

    def database_of(self, app_label):
        # All other apps: auth, sessions, the admin, and each app that is installed later.
        return self.databases.get(app_label, "default")

    def db_for_read(self, model, **hints):
        return self.database_of(model._meta.app_label)

    def db_for_write(self, model, **hints):
        return self.database_of(model._meta.app_label)

    def allow_relation(self, obj1, obj2, **hints):
        # A foreign key needs both tables in one database.
        return self.database_of(obj1._meta.app_label) == self.database_of(obj2._meta.app_label)

    def allow_migrate(self, db, app_label, **hints):
        # Depends on the app only: for RunPython and RunSQL Django passes no model.
        return db == self.database_of(app_label)


class RouterWithOrders(FunctionalRouter):
    """For ``shop.with_orders``: orders are in ``default``, and purchases in ``reviews``."""

    databases = FunctionalRouter.databases | {"purchases": "reviews"}
