"""Django's backend, for a coordinator: ``"ENGINE": "distributed.backends.postgresql"``."""

from django.db.backends.postgresql import base, features


class DatabaseFeatures(features.DatabaseFeatures):
    # A table with foreign partitions can't have a primary key. With one, PostgreSQL would accept
    # GROUP BY of the key alone.
    allows_group_by_selected_pks = False


class DatabaseWrapper(base.DatabaseWrapper):
    features_class = DatabaseFeatures
