class VendorRouter:
    """Augmentation: the supplier's tables are in the supplier's database, which nothing migrates.

    Of all else it has no opinion, and the next router, or Django, is asked.
    """

    def db_for_read(self, model, **hints):
        return "vendor" if model._meta.app_label == "vendor" else None

    # The database refuses the write, and says so.
    db_for_write = db_for_read

    def allow_relation(self, obj1, obj2, **hints):
        theirs = [obj._meta.app_label == "vendor" for obj in (obj1, obj2)]
        return all(theirs) if any(theirs) else None

    def allow_migrate(self, db, app_label, **hints):
        return False if "vendor" in (db, app_label) else None
