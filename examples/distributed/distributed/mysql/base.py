"""The ``ENGINE`` of a coordinator on MariaDB: ``distributed.mysql``."""

from django.db.backends.mysql import base, features


class DatabaseFeatures(features.DatabaseFeatures):
    # Spider refuses SAVEPOINT. Without savepoints, an inner atomic() is a part of the outer one.
    uses_savepoints = False


class DatabaseWrapper(base.DatabaseWrapper):
    features_class = DatabaseFeatures
