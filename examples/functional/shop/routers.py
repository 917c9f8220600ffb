class FunctionalRouter:
    """Separation by function: the app that a model belongs to decides its database.

    No answer is None. None would leave the question to Django, which answers from the instance at
    hand: where a review came from says nothing about where products are.
    """

    databases = {"reviews": "reviews"}  # an app's label, and the alias of its database

    def database_of(self, app_label):
        # Auth, sessions, the admin, and any app that is installed next year.
        return self.databases.get(app_label, "default")

    def db_for_read(self, model, **hints):
        return self.database_of(model._meta.app_label)

    def db_for_write(self, model, **hints):
        return self.database_of(model._meta.app_label)

    def allow_relation(self, obj1, obj2, **hints):
        # A database can keep a foreign key only when it holds both ends.
        return self.database_of(obj1._meta.app_label) == self.database_of(obj2._meta.app_label)

    def allow_migrate(self, db, app_label, **hints):
        # By app alone: RunPython and RunSQL come without the name of a model.
        return db == self.database_of(app_label)
