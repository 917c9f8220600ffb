class VendorRouter:
    """Augmentation: the supplier's tables are in the supplier's database, which is never migrated.

    For all other models it returns None, and Django asks the next router.
    """

    def db_for_read(self, model, **hints):
        return "vendor" if model._meta.app_label == "vendor" else None

    # The connection is read-only, so the database refuses the write with an error.
    db_for_write = db_for_read

    def allow_relation(self, obj1, obj2, **hints):
        theirs = [obj._meta.app_label == "vendor" for obj in (obj1, obj2)]
        return all(theirs) if any(theirs) else None

    def allow_migrate(self, db, app_label, **hints):
        return False if "vendor" in (db, app_label) else None
